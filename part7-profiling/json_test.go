package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestDecode(t *testing.T) {
	for _, tt := range []struct {
		data, wantErr string
	}{
		{`{"id": "m7", "instance": "cattle-x7f2"}`, ""},
		{`{"id": "m7", "instance": "cattle-x7f2", "urgent": true}`, ""},
		{``, "not a restart request: unexpected end of JSON input"},
		{`{`, "not a restart request: unexpected end of JSON input"},
		{`[]`, "not a restart request: json: cannot unmarshal array into " +
			"Go value of type main.Message"},
		{`{"id": 7, "instance": "cattle-x7f2"}`, "not a restart request: " +
			"json: cannot unmarshal number into Go struct field " +
			"Message.id of type string"},
		{"\xff", "not a restart request: invalid character 'ÿ' looking " +
			"for beginning of value"},
		{`{"id": "m7"}`, `not a restart request: instance ""`},
		{`{"instance": "cattle-x7f2"}`, `not a restart request: id ""`},
		{`{"id": "m.7", "instance": "cattle-x7f2"}`,
			`not a restart request: id "m.7"`},
		{`{"id": "m7", "instance": "; reboot"}`,
			`not a restart request: instance "; reboot"`},
	} {
		t.Run(tt.data, func(t *testing.T) {
			msg, err := decode([]byte(tt.data))
			if tt.wantErr == "" {
				assert.NoError(t, err)
				assert.Equal(t, Message{"m7", "cattle-x7f2"}, msg)
				return
			}
			assert.ErrorIs(t, err, errNotRequest)
			assert.EqualError(t, err, tt.wantErr)
			assert.Zero(t, msg)
		})
	}
}

// Whatever the bytes are, decode returns a message that we could have sent, or
// an error. Under plain go test it gets the seeds only.
//
//	go test -run '^$' -fuzz FuzzDecode ./part5-testing
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"id": "m7", "instance": "cattle-x7f2"}`))
	f.Add([]byte(`{"ID": "m7", "Instance": "a", "id": "m8"}`))
	f.Add([]byte(`{"id": "m7", "instance": "cattle-x7f2"} {}`))
	f.Add([]byte(`{"id": "m7\n", "instance": "\u0000"}`))
	f.Add([]byte(`null`))
	f.Add([]byte("\xff\xfe"))
	f.Fuzz(func(t *testing.T, data []byte) {
		msg, err := decode(data)
		if err != nil {
			assert.ErrorIs(t, err, errNotRequest)
			assert.Zero(t, msg)
			return
		}
		assert.Regexp(t, `^[A-Za-z0-9_-]{1,64}$`, msg.ID)
		assert.Regexp(t, `^[a-z0-9.-]{1,253}$`, msg.Instance)
		again, err := decode(encode(msg))
		assert.NoError(t, err)
		assert.Equal(t, msg, again)
	})
}
