package roles

import (
	"context"
	"testing"

	rbac "k8s.io/api/rbac/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

func TestWhatIsThereStays(t *testing.T) {
	ctx := context.Background()
	mine := &rbac.ClusterRole{ObjectMeta: meta.ObjectMeta{Name: "view", Labels: map[string]string{"mine": "true"}}}
	client := fake.NewClientset(mine)

	err := bootstrap(ctx, client)

	view, _ := client.RbacV1().ClusterRoles().Get(ctx, "view", meta.GetOptions{})
	binding, missing := client.RbacV1().ClusterRoleBindings().Get(ctx, "system:kube-scheduler", meta.GetOptions{})
	if err != nil || missing != nil || view.Labels["mine"] != "true" || binding.Annotations[rbac.AutoUpdateAnnotationKey] != "true" {
		t.Errorf("%v, %v; %v; %v", err, missing, view, binding)
	}
}

func TestRolesAreThereBeforeBindings(t *testing.T) {
	client := fake.NewClientset()

	_ = bootstrap(context.Background(), client)

	var bound bool
	for _, action := range client.Actions() {
		binds := action.GetResource().Resource == "clusterrolebindings"
		if bound && !binds {
			t.Errorf("%v after a binding", action)
		}
		bound = binds
	}
}
