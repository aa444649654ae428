// Package podnetwork is the pod network daemon: one per node, it gives pods addresses and the way to each other.
//
// It watches the Node objects, and on each change puts in place the CNI configuration of its own podCIDRs, a route to
// the podCIDRs of every other node through that node's address, and masquerading of what leaves the cluster. All nodes
// are on one network of the container engine, so plain routes are enough; there is no encapsulation.
package podnetwork

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

// retryAfter is for what failed without the Node objects changing: a busy netlink socket, an nft lock.
const retryAfter = 2 * time.Second

// Main runs the daemon until it is told to end.
func Main() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	name := os.Getenv("NODE_NAME")
	if name == "" {
		return errors.New("NODE_NAME is not set: the DaemonSet gives it from spec.nodeName")
	}
	config, err := restConfig()
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	return run(ctx, client, name)
}

// restConfig is our service account at the address the kubelet uses: the Service's address needs kube-proxy, which may be later than we are.
func restConfig() (*rest.Config, error) {
	config, err := rest.InClusterConfig()
	if err != nil {
		return nil, err
	}
	if path := os.Getenv("KUBELET_KUBECONFIG"); path != "" {
		kubelet, err := clientcmd.LoadFromFile(path)
		if err != nil {
			return nil, fmt.Errorf("cannot learn the API server's address from the kubelet: %w", err)
		}
		for _, cluster := range kubelet.Clusters {
			config.Host = cluster.Server
		}
	}
	return config, nil
}

func run(ctx context.Context, client kubernetes.Interface, name string) error {
	factory := informers.NewSharedInformerFactory(client, 0)
	nodes := factory.Core().V1().Nodes()
	changed := make(chan struct{}, 1)
	changed <- struct{}{}
	notify := func() {
		select {
		case changed <- struct{}{}:
		default: // a change is pending already: one look at the cache serves both
		}
	}
	_, err := nodes.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { notify() },
		UpdateFunc: func(before, after any) {
			if matters(before, after) {
				notify()
			}
		},
		DeleteFunc: func(any) { notify() },
	})
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	if !cache.WaitForCacheSync(ctx.Done(), nodes.Informer().HasSynced) {
		return ctx.Err()
	}
	var retry <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-retry:
		}
		retry = nil
		list, err := nodes.Lister().List(labels.Everything())
		if err == nil {
			err = apply(ctx, list, name)
		}
		if err != nil {
			klog.ErrorS(err, "The pod network is not as it should be; trying again", "after", retryAfter)
			retry = time.After(retryAfter)
		}
	}
}

// matters: the kubelet updates its Node's status all the time, seldom in what a plan is made of.
func matters(before, after any) bool {
	oldPlan, oldErr := MakePlan([]*corev1.Node{before.(*corev1.Node)}, "")
	newPlan, newErr := MakePlan([]*corev1.Node{after.(*corev1.Node)}, "")
	return fmt.Sprint(oldPlan, oldErr) != fmt.Sprint(newPlan, newErr)
}

func apply(ctx context.Context, nodes []*corev1.Node, name string) error {
	plan, err := MakePlan(nodes, name)
	if err != nil {
		return err
	}
	if len(plan.OwnPodCIDRs) == 0 {
		klog.InfoS("This node has no podCIDR yet", "node", name)
		return nil
	}
	if err := errors.Join(SyncRoutes(plan.Routes), SyncMasquerade(ctx, plan)); err != nil {
		return err
	}
	// Last, as the configuration is what makes the node Ready.
	if err := WriteConflist(ConfigPath, plan.OwnPodCIDRs); err != nil {
		return err
	}
	klog.InfoS("The pod network is in place", "podCIDRs", plan.OwnPodCIDRs, "routes", plan.Routes)
	return nil
}
