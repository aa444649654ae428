package snapshot

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	runtimeEndpoint  = "unix:///run/containerd/containerd.sock"
	uidLabel         = "io.kubernetes.pod.uid"       // the kubelet's, on each sandbox
	volumesDirectory = "/var/local-path-provisioner" // as default-storage.yaml says
	stopTries        = 5
	stopAgainAfter   = 200 * time.Millisecond
)

// tidy makes this node forget what a restore has left of pods and volumes that are no more.
func tidy(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("tidy", flag.ContinueOnError)
	pods := flags.String("pods", "", "UIDs of pods that have to end now")
	returning := flags.String("returning", "", "UIDs of pods that are to begin anew; the kubelet rests")
	volumes := flags.String("volumes", "", "directories that are to stay")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := stopPods(ctx, list(*pods), list(*returning)); err != nil {
		return err
	}
	return removeVolumes(list(*volumes))
}

// removeVolumes removes the directories of local-path-provisioner but for some.
func removeVolumes(kept []string) error {
	found, err := filepath.Glob(volumesDirectory + "/*")
	if err != nil {
		return err
	}
	var failures []error
	for _, path := range found {
		if !slices.Contains(kept, path) {
			failures = append(failures, os.RemoveAll(path))
		}
	}
	return errors.Join(failures...)
}

// stopPods ends at once what this node runs of pods; their kubelet would give them time to end. It removes what is left of those that
// are no more, but cannot while it rests.
func stopPods(ctx context.Context, uids, returning []string) error {
	if len(uids)+len(returning) == 0 {
		return nil
	}
	connection, err := grpc.NewClient(runtimeEndpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	service := runtimeapi.NewRuntimeServiceClient(connection)
	reply, err := service.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		return err
	}
	var stopping sync.WaitGroup
	failures := make([]error, len(reply.GetItems()))
	for index, sandbox := range reply.GetItems() {
		uid := sandbox.GetLabels()[uidLabel]
		if remove := slices.Contains(returning, uid); remove || slices.Contains(uids, uid) {
			stopping.Go(func() { failures[index] = stop(ctx, service, sandbox.GetId(), remove) })
		}
	}
	stopping.Wait()
	return errors.Join(failures...)
}

func stop(ctx context.Context, service runtimeapi.RuntimeServiceClient, sandbox string, remove bool) error {
	var err error
	for range stopTries { // the kubelet is at it, too: who comes second to a network's end fails, and finds it done the next time
		if _, err = service.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: sandbox}); status.Code(err) != codes.Unknown {
			break
		}
		time.Sleep(stopAgainAfter)
	}
	if err == nil && remove {
		_, err = service.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: sandbox})
	}
	if status.Code(err) == codes.NotFound { // the kubelet was faster
		return nil
	}
	return err
}
