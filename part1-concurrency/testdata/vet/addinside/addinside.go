// Package addinside holds a mistake of lesson 1.4 in the form that vet refuses.
package addinside

import "sync"

// waitForNobody adds to the group in the goroutine. Wait may come before Add,
// and then there is nothing to wait for.
func waitForNobody(save, restart func()) {
	var jobs sync.WaitGroup
	for _, job := range []func(){save, restart} {
		go func() {
			jobs.Add(1)
			defer jobs.Done()
			job()
		}()
	}
	jobs.Wait()
}
