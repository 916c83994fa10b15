// Command deadlock deadlocks: it locks a mutex twice. Its argument says what
// else the process has done. Lesson 6.5 builds and runs it.
package main

import (
	"os"
	"os/signal"
	"sync"
	"time"
)

func main() {
	switch os.Args[1] {
	case "ticker":
		time.NewTicker(time.Hour) // nobody receives from it
	case "timer":
		time.AfterFunc(time.Minute, func() {})
	case "sleeper":
		go time.Sleep(time.Minute)
	case "notify", "stop":
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, os.Interrupt)
		if os.Args[1] == "stop" {
			signal.Stop(signals)
		}
	}
	var mu sync.Mutex
	mu.Lock()
	println("locked")
	mu.Lock()
}
