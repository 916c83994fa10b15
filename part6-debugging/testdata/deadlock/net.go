//go:build usesnet

package main

import _ "net" // what most services do
