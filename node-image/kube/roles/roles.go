// Package roles makes the ClusterRoles and ClusterRoleBindings that the API server has in every cluster.
//
// The API server makes them itself, but begins a second after it answers, by a timer, and until it is through with it no controller
// begins. It finds those that are there, completes them where its feature gates ask for more, and is through at once.
package roles

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"
	rbac "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	policy "k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"

	"kindasync.dev/node-image/kube/await"
)

const (
	superAdmin = "/etc/kubernetes/super-admin.conf"        // its user needs no role; its server may be a balancer, which waits for roles
	local      = "/etc/kubernetes/controller-manager.conf" // its server is the node's own
	atOnce     = 8
)

// Main makes those that are not there, as soon as the API server answers: all roles, then all bindings.
func Main() error {
	config, err := clientcmd.BuildConfigFromFlags("", superAdmin)
	if err != nil {
		return err
	}
	own, err := clientcmd.BuildConfigFromFlags("", local)
	if err != nil {
		return err
	}
	config.Host = own.Host
	config.QPS = -1 // no limit
	if err := await.Answer(config, "/livez/ping"); err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	return bootstrap(context.Background(), client)
}

func bootstrap(ctx context.Context, client kubernetes.Interface) error {
	roles := slices.Concat(policy.ClusterRoles(), policy.ControllerRoles())
	bindings := slices.Concat(policy.ClusterRoleBindings(), policy.ControllerRoleBindings())
	if err := each(roles, func(role *rbac.ClusterRole) error {
		_, err := client.RbacV1().ClusterRoles().Create(ctx, role, meta.CreateOptions{})
		return err
	}); err != nil {
		return err
	}
	return each(bindings, func(binding *rbac.ClusterRoleBinding) error {
		_, err := client.RbacV1().ClusterRoleBindings().Create(ctx, binding, meta.CreateOptions{})
		return err
	})
}

func each[Object any](objects []Object, create func(*Object) error) error {
	var group errgroup.Group
	group.SetLimit(atOnce)
	for index := range objects {
		group.Go(func() error {
			if err := create(&objects[index]); !errors.IsAlreadyExists(err) {
				return err
			}
			return nil
		})
	}
	return group.Wait()
}
