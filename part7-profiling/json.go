package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
)

// errNotRequest is in the error for a message that asks for nothing we know.
var errNotRequest = errors.New("not a restart request")

// What a request must look like. Its ID becomes part of subjects and of keys in
// the bucket, where a dot, a space or a wildcard would mean something else.
var (
	validID       = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	validInstance = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{0,252}$`)
)

// encode returns a message as JSON.
func encode(msg Message) []byte {
	data, err := json.Marshal(msg)
	if err != nil {
		panic(err) // two strings can always be encoded
	}
	return data
}

// decode returns the message that JSON holds, or an errNotRequest with the
// reason. It ignores fields that it doesn't know, so that a publisher may be
// newer than we are.
func decode(data []byte) (Message, error) {
	var msg Message
	if err := json.Unmarshal(data, &msg); err != nil {
		return Message{}, fmt.Errorf("%w: %w", errNotRequest, err)
	}
	if !validID.MatchString(msg.ID) {
		return Message{}, fmt.Errorf("%w: id %.80q", errNotRequest, msg.ID)
	}
	if !validInstance.MatchString(msg.Instance) {
		return Message{}, fmt.Errorf("%w: instance %.80q",
			errNotRequest, msg.Instance)
	}
	return msg, nil
}
