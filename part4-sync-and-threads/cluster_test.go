package main

import (
	"context"
	"flag"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var cluster = flag.Bool("cluster", false, "start a cluster of three servers")

// In a cluster of three servers, the leader of the stream is shut down while
// the service works. Nothing is lost, and nothing is saved twice.
//
//	go test -run TestCluster ./part4-sync-and-threads -cluster
func TestCluster(t *testing.T) {
	if !*cluster {
		t.Skip("takes 15s: go test -cluster")
	}
	// A server without a route runs standalone, so the first one gets a route
	// that leads nowhere.
	routes := []*url.URL{{Scheme: "nats", Host: "127.0.0.1:1"}}
	var all []*server.Server
	var urls []string
	for i := range 3 {
		s := serverFor(t, func(o *server.Options) {
			o.ServerName = fmt.Sprintf("n%d", i+1)
			o.Cluster = server.ClusterOpts{
				Name: "test", Host: "127.0.0.1", Port: -1,
			}
			o.Routes = routes
		})
		routes = append(routes,
			&url.URL{Scheme: "nats", Host: s.ClusterAddr().String()})
		all, urls = append(all, s), append(urls, s.ClientURL())
	}
	log := newSignalLog()
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"-nats", strings.Join(urls, ","),
			"-replicas", "3", "-n", "200", "-speed", "5"}, log)
	}()
	log.until(ctx, "msg=settled", 20)
	js := jetStreamAt(t, strings.Join(urls, ","))
	s, err := js.Stream(ctx, requestStream)
	require.NoError(t, err)
	for _, name := range []string{
		requestStream, deadStream, "KV_" + bucketName,
	} {
		s, err := js.Stream(ctx, name)
		require.NoError(t, err)
		assert.Equal(t, 3, s.CachedInfo().Config.Replicas, name)
	}
	leader := s.CachedInfo().Cluster.Leader
	for _, s := range all {
		if s.Name() == leader {
			s.Shutdown()
			s.WaitForShutdown()
		}
	}
	t.Logf("%s is shut down, %d messages settled", leader,
		log.count("msg=settled"))
	assert.NoError(t, <-ended)
	assert.Len(t, assertAllSaved(t, js), 200, "messages")
	assert.Equal(t, 1, log.count("msg=ended messages=200"))
}
