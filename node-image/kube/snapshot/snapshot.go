// Package snapshot keeps copies of a cluster's API objects, and makes the objects again what they were in one.
//
// It works on etcd, beneath the API server: nothing that a test has made (an admission webhook whose server is gone, a finalizer
// that nobody removes, a namespace that does not end) can be in its way, UIDs stay, and the API server, its watches and the
// controllers learn of it as of any other change. Copies lie in etcd, too: every control plane has them, and a restart loses none.
package snapshot

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"
)

const (
	deadline = 20 * time.Second
	usage    = "usage: snapshot take NAME [-revision N] | restore NAME -nodes NODE,NODE... [-resting NODE,NODE...] | list | drop NAME | tidy [-pods UID,UID...] [-returning UID,UID...] [-volumes PATH,PATH...]"
)

// Main runs one command, which prints JSON; its error is for stderr, with exit code 1.
func Main(args []string) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	if args[0] == "tidy" {
		return tidy(ctx, args[1:])
	}
	store, err := openStore()
	if err != nil {
		return err
	}
	defer store.client.Close()
	result, err := run(ctx, store, args[0], args[1:])
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

func run(ctx context.Context, store *store, command string, args []string) (any, error) {
	if command == "list" {
		return store.list(ctx)
	}
	if len(args) == 0 {
		return nil, errors.New(usage)
	}
	name, flags := args[0], flag.NewFlagSet(command, flag.ContinueOnError)
	revision := flags.Int64("revision", 0, "of etcd; 0: the newest")
	nodes := flags.String("nodes", "", "names of all nodes that there are")
	resting := flags.String("resting", "", "names of nodes whose kubelets are stopped")
	if err := flags.Parse(args[1:]); err != nil {
		return nil, err
	}
	switch command {
	case "take":
		return store.take(ctx, name, *revision)
	case "restore":
		return restore(ctx, store, name, list(*nodes), list(*resting))
	case "drop":
		return store.drop(ctx, name)
	default:
		return nil, fmt.Errorf("unknown command %q\n%s", command, usage)
	}
}

// list reads the value of a flag.
func list(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' })
}
