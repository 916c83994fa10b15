package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Each promise in the README's table has a test, and there are twenty-eight.
func TestPromises(t *testing.T) {
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, table, found := strings.Cut(string(text), "\n## What it promises\n")
	require.True(t, found)
	table, _, _ = strings.Cut(table, "\n## ")
	var tests strings.Builder
	files, err := filepath.Glob("*_test.go")
	require.NoError(t, err)
	for _, file := range files {
		source, err := os.ReadFile(file)
		require.NoError(t, err)
		tests.Write(source)
	}
	rows := regexp.MustCompile(`(?m)^\| (\d+) \|.*\| ([^|]*) \|$`).
		FindAllStringSubmatch(table, -1)
	require.Len(t, rows, 28)
	for i, row := range rows {
		assert.Equal(t, strconv.Itoa(i+1), row[1])
		names := regexp.MustCompile("`(Test\\w+)`").
			FindAllStringSubmatch(row[2], -1)
		assert.NotEmpty(t, names, row[0])
		for _, name := range names {
			assert.Contains(t, tests.String(), "func "+name[1]+"(", row[0])
		}
	}
}
