package main

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// savedKeys returns how often each request was saved.
func savedKeys(t testing.TB, js jetstream.JetStream) map[string]int {
	t.Helper()
	s, err := js.Stream(t.Context(), "KV_"+bucketName)
	require.NoError(t, err)
	info, err := s.Info(t.Context(),
		jetstream.WithSubjectFilter("$KV."+bucketName+".saved.*"))
	require.NoError(t, err)
	saved := make(map[string]int)
	for subject, n := range info.State.Subjects {
		id := strings.TrimPrefix(subject, "$KV."+bucketName+".saved.")
		saved[id] = int(n)
	}
	return saved
}

// deadLetters returns the reason of each dead letter.
func deadLetters(t testing.TB, js jetstream.JetStream) map[string]string {
	t.Helper()
	s, err := js.Stream(t.Context(), deadStream)
	require.NoError(t, err)
	info, err := s.Info(t.Context())
	require.NoError(t, err)
	reasons := make(map[string]string)
	for i := info.State.FirstSeq; i <= info.State.LastSeq; i++ {
		msg, err := s.GetMsg(t.Context(), i)
		if err == nil { // otherwise a later one has replaced it
			reasons[msg.Subject] = msg.Header.Get(reasonHeader)
		}
	}
	return reasons
}

// newJetMandrill returns a service on JetStream. Its work is done at once.
func newJetMandrill(b *jetBroker) *Mandrill {
	return &Mandrill{
		log: b.log, queue: b, lease: b.lease, save: nothing, restart: nothing,
		seed: 1,
	}
}
