package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A file that can't be written is a mistake on the command line.
func TestProfileFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "no", "such", "folder")
	called := false
	err := profiled(path, func() error {
		called = true
		return nil
	})
	assert.ErrorContains(t, err, "-cpuprofile: open "+path)
	assert.Equal(t, 2, status(err), "exit status")
	assert.False(t, called)
}

// The profile is in the file even if the function panics.
func TestProfileOfAPanic(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cpu.out")
	err := contain(func() error {
		return profiled(path, func() error {
			for range 2000 {
				busy()
			}
			panic("on purpose")
		})
	})
	assert.EqualError(t, err, "panic: on purpose")
	file, err := os.Open(path)
	require.NoError(t, err)
	defer file.Close()
	p, err := readProfile(file)
	require.NoError(t, err)
	_, there, _ := spent(p, "busy")
	assert.Positive(t, there, "in busy")
}

// A disk that is full is an error, even if the service has ended well.
func TestProfileOnAFullDisk(t *testing.T) {
	const full = "/dev/full"
	if _, err := os.Stat(full); err != nil {
		t.Skip("needs " + full)
	}
	err := profiled(full, func() error { return nil })
	assert.ErrorIs(t, err, syscall.ENOSPC)
	assert.Equal(t, 1, status(err), "exit status")
}
