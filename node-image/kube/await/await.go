// Package await lets a program of the control plane begin when the API server is ready for it.
//
// By itself the controller-manager asks once a second whether it is, and the scheduler, refused before there are roles, comes back a
// second or more later.
package await

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Variable of the environment that asks for it: the API server's path that has to answer 200, such as /readyz.
const Variable = "KINDASYNC_AWAIT"

const (
	interval = 25 * time.Millisecond
	limit    = time.Minute // after which a program that waits says itself what is wrong
)

// APIServer waits for the API server of the kubeconfig that a program is called with, if its environment asks for that.
func APIServer(args []string) {
	path := os.Getenv(Variable)
	if path == "" {
		return
	}
	began := time.Now()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig(args))
	if err == nil {
		err = Answer(config, path)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s of the API server: %v\n", path, err)
		return
	}
	fmt.Fprintf(os.Stderr, "The API server is ready after %v.\n", time.Since(began).Round(time.Millisecond))
}

// kubeconfig is the path that kubeadm's manifests give a program.
func kubeconfig(args []string) string {
	for _, each := range args {
		if path, found := strings.CutPrefix(each, "--kubeconfig="); found {
			return path
		}
	}
	return ""
}

// Answer waits until a path of an API server answers 200.
func Answer(config *rest.Config, path string) error { return answer(config, path, limit) }

func answer(config *rest.Config, path string, limit time.Duration) error {
	asking := rest.CopyConfig(config)
	asking.Timeout = time.Second
	client, err := rest.HTTPClientFor(asking)
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(limit); ; time.Sleep(interval) {
		reply, err := client.Get(config.Host + path)
		if err == nil {
			reply.Body.Close()
			if reply.StatusCode == http.StatusOK {
				return nil
			}
			err = fmt.Errorf("it answers %s", reply.Status)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not ready after %v: %w", limit, err)
		}
	}
}
