package snapshot

import (
	"bytes"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// value is what etcd has of an object of Kubernetes' own kinds, or of example.com/v1.
func value(t *testing.T, document string) []byte {
	t.Helper()
	var content unstructured.Unstructured
	text, err := yaml.YAMLToJSON([]byte(document))
	if err == nil {
		err = content.UnmarshalJSON(text)
	}
	if err == nil && content.GroupVersionKind().Group == "example.com" {
		return text
	}
	var result []byte
	if err == nil {
		result, err = encode(&content)
	}
	if err != nil {
		t.Fatalf("%v in %s", err, document)
	}
	return result
}

func values(t *testing.T, documents map[string]string) map[string][]byte {
	t.Helper()
	result := map[string][]byte{}
	for key, document := range documents {
		result[key] = value(t, document)
	}
	return result
}

func shown(value []byte) string {
	if value == nil {
		return "nothing"
	}
	text, _ := yaml.Marshal(decode("", value).content)
	return string(text)
}

// by is an entry of managedFields.
func by(manager string) string {
	return "{manager: " + manager + ", operation: Update, apiVersion: v1, time: '2026-01-01T00:00:00Z'}"
}

func TestAnObjectThatIsStillThereBecomesWhatItWasButForWhatIsTheClustersOwn(t *testing.T) {
	same := "" // nothing is to be done
	for name, each := range map[string]struct{ key, was, is, becomes string }{
		"data": {"configmaps/default/a",
			`{apiVersion: v1, kind: ConfigMap, metadata: {name: a, uid: u}, data: {k: before}}`,
			`{apiVersion: v1, kind: ConfigMap, metadata: {name: a, uid: u, labels: {new: x}, finalizers: [example.com/never]}, data: {k: now}}`,
			`{apiVersion: v1, kind: ConfigMap, metadata: {name: a, uid: u}, data: {k: before}}`},
		"status is that of now; a spec that changes back is a new generation": {"deployments/default/a",
			`{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, uid: u, generation: 1}, spec: {replicas: 2}, status: {replicas: 2}}`,
			`{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, uid: u, generation: 3}, spec: {replicas: 4}, status: {replicas: 3}}`,
			`{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, uid: u, generation: 4}, spec: {replicas: 2}, status: {replicas: 3}}`},
		"another status, and a later generation of the same, are no change": {"deployments/default/a",
			`{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, uid: u, generation: 1}, spec: {replicas: 2}}`,
			`{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, uid: u, generation: 3}, spec: {replicas: 2}, status: {replicas: 2}}`,
			same},
		"but the status that somebody outside sets": {"certificatesigningrequests/a",
			`{apiVersion: certificates.k8s.io/v1, kind: CertificateSigningRequest, metadata: {name: a, uid: u}, spec: {signerName: example.com/a}}`,
			`{apiVersion: certificates.k8s.io/v1, kind: CertificateSigningRequest, metadata: {name: a, uid: u}, spec: {signerName: example.com/a}, status: {certificate: YQ==}}`,
			`{apiVersion: certificates.k8s.io/v1, kind: CertificateSigningRequest, metadata: {name: a, uid: u}, spec: {signerName: example.com/a}}`},
		"a custom resource's is restored, too": {"example.com/widgets/default/a",
			`{apiVersion: example.com/v1, kind: Widget, metadata: {name: a, uid: u}, status: {ready: true}}`,
			`{apiVersion: example.com/v1, kind: Widget, metadata: {name: a, uid: u}, status: {ready: false}}`,
			`{apiVersion: example.com/v1, kind: Widget, metadata: {name: a, uid: u}, status: {ready: true}}`},
		"annotations of components stay, those of tests go, whatever their names": {"storageclasses/a",
			`{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: a, uid: u}, provisioner: p}`,
			`{apiVersion: storage.k8s.io/v1, kind: StorageClass, provisioner: p, metadata: {name: a, uid: u,
				annotations: {example.com/controlled: "1", storageclass.kubernetes.io/is-default-class: "true"}, managedFields: [
				{manager: kube-controller-manager, operation: Update, apiVersion: v1, fieldsType: FieldsV1, fieldsV1: {"f:metadata": {"f:annotations": {"f:example.com/controlled": {}}}}},
				{manager: kubectl, operation: Update, apiVersion: v1}]}}`,
			`{apiVersion: storage.k8s.io/v1, kind: StorageClass, provisioner: p, metadata: {name: a, uid: u,
				annotations: {example.com/controlled: "1"}, managedFields: [
				{manager: kube-controller-manager, operation: Update, apiVersion: v1, fieldsType: FieldsV1, fieldsV1: {"f:metadata": {"f:annotations": {"f:example.com/controlled": {}}}}}]}}`},
		"who applied something since does not own it any more": {"configmaps/default/a",
			`{apiVersion: v1, kind: ConfigMap, metadata: {name: a, uid: u, managedFields: [` + by("kubeadm") + `]}}`,
			`{apiVersion: v1, kind: ConfigMap, metadata: {name: a, uid: u, managedFields: [` + by("a-test") + `, ` + by("kubelet") + `, ` + by("kubeadm") + `]}}`,
			`{apiVersion: v1, kind: ConfigMap, metadata: {name: a, uid: u, managedFields: [` + by("kubeadm") + `, ` + by("kubelet") + `]}}`},
		"an order is no change": {"configmaps/default/a",
			`{apiVersion: v1, kind: ConfigMap, metadata: {name: a, uid: u, managedFields: [` + by("kubeadm") + `, ` + by("kubelet") + `]}}`,
			`{apiVersion: v1, kind: ConfigMap, metadata: {name: a, uid: u, managedFields: [` + by("kubelet") + `, ` + by("kubeadm") + `]}}`,
			same},
		"a pod stays on the node where it has been placed": {"pods/default/a",
			`{apiVersion: v1, kind: Pod, metadata: {name: a, uid: u}}`,
			`{apiVersion: v1, kind: Pod, metadata: {name: a, uid: u, labels: {new: x}}, spec: {nodeName: worker}, status: {phase: Running}}`,
			`{apiVersion: v1, kind: Pod, metadata: {name: a, uid: u}, spec: {nodeName: worker}, status: {phase: Running}}`},
		"a node's taints, but for those that follow its conditions": {"minions/worker",
			`{apiVersion: v1, kind: Node, metadata: {name: worker, uid: u}, spec: {taints: [{key: mine, effect: NoSchedule}, {key: node.kubernetes.io/disk-pressure, effect: NoSchedule}]}}`,
			`{apiVersion: v1, kind: Node, metadata: {name: worker, uid: u}, spec: {unschedulable: true, taints: [{key: node.kubernetes.io/not-ready, effect: NoExecute}, {key: node.kubernetes.io/unschedulable, effect: NoSchedule}]}}`,
			`{apiVersion: v1, kind: Node, metadata: {name: worker, uid: u}, spec: {taints: [{key: mine, effect: NoSchedule}, {key: node.kubernetes.io/not-ready, effect: NoExecute}]}}`},
		"a node's extended resources, and conditions that are not its kubelet's": {"minions/worker",
			`{apiVersion: v1, kind: Node, metadata: {name: worker, uid: u}, status: {capacity: {cpu: "2"}, conditions: [{type: Ready, status: "False"}]}}`,
			`{apiVersion: v1, kind: Node, metadata: {name: worker, uid: u}, status: {capacity: {cpu: "2", example.com/gpu: "1"}, conditions: [{type: Ready, status: "True"}, {type: KernelDeadlock, status: "True"}]}}`,
			`{apiVersion: v1, kind: Node, metadata: {name: worker, uid: u}, status: {capacity: {cpu: "2"}, conditions: [{type: Ready, status: "True"}]}}`},
		"cluster-info is signed for the tokens that there are now": {"configmaps/kube-public/cluster-info",
			`{apiVersion: v1, kind: ConfigMap, metadata: {name: cluster-info, uid: u}, data: {kubeconfig: k, jws-kubeconfig-old: s}}`,
			`{apiVersion: v1, kind: ConfigMap, metadata: {name: cluster-info, uid: u}, data: {kubeconfig: changed, jws-kubeconfig-new: s}}`,
			`{apiVersion: v1, kind: ConfigMap, metadata: {name: cluster-info, uid: u}, data: {kubeconfig: k, jws-kubeconfig-new: s}}`},
		"also where nothing is left of it": {"configmaps/kube-public/cluster-info",
			`{apiVersion: v1, kind: ConfigMap, metadata: {name: cluster-info, uid: u}, data: {kubeconfig: k, jws-kubeconfig-old: s}}`,
			`{apiVersion: v1, kind: ConfigMap, metadata: {name: cluster-info, uid: u}}`,
			`{apiVersion: v1, kind: ConfigMap, metadata: {name: cluster-info, uid: u}, data: {kubeconfig: k}}`},
		"that one has gone with its token is no change": {"configmaps/kube-public/cluster-info",
			`{apiVersion: v1, kind: ConfigMap, metadata: {name: cluster-info, uid: u}, data: {kubeconfig: k, jws-kubeconfig-old: s}}`,
			`{apiVersion: v1, kind: ConfigMap, metadata: {name: cluster-info, uid: u}, data: {kubeconfig: k}}`,
			same},
		"a controller's Endpoints are as it has them": {"services/endpoints/default/a",
			`{apiVersion: v1, kind: Endpoints, metadata: {name: a, uid: u, managedFields: [` + by("kube-controller-manager") + `]}}`,
			`{apiVersion: v1, kind: Endpoints, metadata: {name: a, uid: u, managedFields: [` + by("kube-controller-manager") + `]}, subsets: [{addresses: [{ip: 10.0.0.1}]}]}`,
			same},
		"somebody's Endpoints are restored": {"services/endpoints/default/a",
			`{apiVersion: v1, kind: Endpoints, metadata: {name: a, uid: u}}`,
			`{apiVersion: v1, kind: Endpoints, metadata: {name: a, uid: u}, subsets: [{addresses: [{ip: 10.0.0.1}]}]}`,
			`{apiVersion: v1, kind: Endpoints, metadata: {name: a, uid: u}}`},
	} {
		t.Run(name, func(t *testing.T) {
			is, was := decode(each.key, value(t, each.is)), decode(each.key, value(t, each.was))
			becomes, err := is.restored(was)
			if err != nil {
				t.Fatal(err)
			}
			if each.becomes == same {
				if becomes != nil {
					t.Fatalf("changed to %s", shown(becomes))
				}
			} else if wanted := value(t, each.becomes); !reflect.DeepEqual(decode("", becomes).content, decode("", wanted).content) {
				t.Fatalf("is\n%s\nshould be\n%s", shown(becomes), shown(wanted))
			}
			if becomes == nil {
				return
			}
			if again, _ := decode(each.key, becomes).restored(was); again != nil {
				t.Fatalf("is changed again, to %s", shown(again))
			}
		})
	}
}

func TestAPodThatComesBack(t *testing.T) {
	ready := `[{type: PodScheduled, status: "True"}, {type: Initialized, status: "True"}, {type: ContainersReady, status: "True"}, {type: Ready, status: "True"}]`
	for name, each := range map[string]struct{ was, becomes string }{
		"counts as Ready, without an address": {
			`{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {nodeName: worker}, status: {phase: Running, podIP: 10.0.0.1, qosClass: Burstable}}`,
			`{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {nodeName: worker}, status: {phase: Running, qosClass: Burstable, conditions: ` + ready + `}}`},
		"is to be placed if it was not": {
			`{apiVersion: v1, kind: Pod, metadata: {name: a}, status: {qosClass: BestEffort}}`,
			`{apiVersion: v1, kind: Pod, metadata: {name: a}, status: {phase: Pending, qosClass: BestEffort}}`},
		"and does not run again if it had ended": {
			`{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {nodeName: worker}, status: {phase: Succeeded, podIP: 10.0.0.1}}`,
			`{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {nodeName: worker}, status: {phase: Succeeded, podIP: 10.0.0.1}}`},
	} {
		t.Run(name, func(t *testing.T) {
			becomes, err := decode("pods/default/a", value(t, each.was)).recreated()
			if wanted := value(t, each.becomes); err != nil || !bytes.Equal(becomes, wanted) {
				t.Fatalf("%v; is\n%s\nshould be\n%s", err, shown(becomes), shown(wanted))
			}
		})
	}
}

const (
	namespace  = `{apiVersion: v1, kind: Namespace, metadata: {name: a, uid: ns}}`
	ending     = `{apiVersion: v1, kind: Namespace, metadata: {name: a, uid: ns, deletionTimestamp: "2026-01-01T00:00:00Z"}, status: {phase: Terminating}}`
	deployment = `{apiVersion: apps/v1, kind: Deployment, metadata: {name: d, namespace: a, uid: d}}`
	scaled     = `{apiVersion: apps/v1, kind: Deployment, metadata: {name: d, namespace: a, uid: d}, spec: {replicas: 3}}`
	lease      = `{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: l, uid: l}}`
	renewed    = `{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: l, uid: l}, spec: {holderIdentity: x}}`
	event      = `{apiVersion: v1, kind: Event, metadata: {name: e, uid: e}}`
	done       = `status: {conditions: [{type: Complete, status: "True"}]}`
	job        = `{apiVersion: batch/v1, kind: Job, metadata: {name: j, uid: j}, spec: {ttlSecondsAfterFinished: 1}, ` + done + `}`
	jobToKeep  = `{apiVersion: batch/v1, kind: Job, metadata: {name: j, uid: j}, ` + done + `}`
)

func pod(uid, rest string) string {
	return `{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: a, uid: ` + uid + `}, spec: {nodeName: worker, restartPolicy: Always}, ` + rest + `}`
}

// owned is what a controller has made for an owner.
func owned(kind, uid, owner string) string {
	version := map[string]string{"Pod": "v1", "ReplicaSet": "apps/v1"}[kind]
	return `{apiVersion: ` + version + `, kind: ` + kind + `, metadata: {name: x, namespace: a, uid: ` + uid + `, ownerReferences: [{apiVersion: v1, kind: Any, name: o, uid: ` + owner +
		`}], managedFields: [` + by("kube-controller-manager") + `]}, spec: {nodeName: worker}}`
}

func TestPlan(t *testing.T) {
	type objects = map[string]string
	for name, each := range map[string]struct {
		is, was                     objects
		settled                     string
		deletes, kills, puts, after []string // keys
		killed, returns             byNode
	}{
		"nothing to do":    {is: objects{"namespaces/a": namespace}, was: objects{"namespaces/a": namespace}},
		"what is new goes": {is: objects{"namespaces/a": namespace}, deletes: []string{"namespaces/a"}},
		"what is gone comes back, owners first": {
			was:  objects{"deployments/a/d": deployment, "controllers/a/r": owned("ReplicaSet", "r", "d"), "services/specs/a/s": `{apiVersion: v1, kind: Service, metadata: {name: s, uid: s}}`},
			puts: []string{"deployments/a/d", "services/specs/a/s", "controllers/a/r"}},
		"what is ending is replaced by what it was": {
			is: objects{"namespaces/a": ending}, was: objects{"namespaces/a": namespace}, deletes: []string{"namespaces/a"}, after: []string{"namespaces/a"}},
		"what was ending is left to end":                                    {is: objects{"namespaces/a": ending}, was: objects{"namespaces/a": ending}},
		"what was ending need not come back, nor what was in it":            {was: objects{"namespaces/a": ending, "deployments/a/d": deployment}},
		"a finished Job that was to live for a time need not, nor its pods": {was: objects{"jobs/a/j": job, "pods/a/x": owned("Pod", "x", "j")}},
		"another one comes back":                                            {was: objects{"jobs/a/j": jobToKeep}, puts: []string{"jobs/a/j"}},
		"what was put back is its controller's": {
			is: objects{"deployments/a/d": scaled}, was: objects{"deployments/a/d": deployment}, settled: "deployments/a/d"},
		"but not if it goes again": {was: objects{"deployments/a/d": deployment}, settled: "deployments/a/d", puts: []string{"deployments/a/d"}},
		"leases and events pass by themselves; new ones go": {
			is:  objects{"leases/a/l": renewed, "leases/a/new": lease, "events/a/new": event},
			was: objects{"leases/a/l": lease, "events/a/e": event}, deletes: []string{"events/a/new", "leases/a/new"}},
		"a new pod is killed": {is: objects{"pods/a/p": pod("new", "")}, kills: []string{"pods/a/p"}, killed: byNode{"worker": {"new"}}},
		"a pod of the same name makes way for the one that was": {
			is: objects{"pods/a/p": pod("new", "")}, was: objects{"pods/a/p": pod("old", "")},
			kills: []string{"pods/a/p"}, after: []string{"pods/a/p"}, killed: byNode{"worker": {"new"}}, returns: byNode{"worker": {"old"}}},
		"a pod that was evicted returns": {
			is: objects{"pods/a/p": pod("old", "status: {phase: Failed}")}, was: objects{"pods/a/p": pod("old", "status: {phase: Running}")},
			kills: []string{"pods/a/p"}, after: []string{"pods/a/p"}, killed: byNode{"worker": {"old"}}, returns: byNode{"worker": {"old"}}},
		"one that had ended is there again, and is not waited for": {
			was: objects{"pods/a/p": pod("old", "status: {phase: Succeeded}")}, puts: []string{"pods/a/p"}},
	} {
		t.Run(name, func(t *testing.T) {
			made, err := makePlan(values(t, each.is), values(t, each.was), map[string]bool{each.settled: true})
			if err != nil {
				t.Fatal(err)
			}
			for what, lists := range map[string][2][]string{
				"deletes": {keysOf(made.deletes), each.deletes}, "kills": {keysOf(made.kills), each.kills},
				"puts": {keysOf(made.puts), each.puts}, "after": {keysOf(made.after), each.after},
			} {
				if !slices.Equal(lists[0], lists[1]) {
					t.Errorf("%s: %v, should be %v", what, lists[0], lists[1])
				}
			}
			if !maps.EqualFunc(made.killed, each.killed, slices.Equal) || !maps.EqualFunc(made.returns, each.returns, slices.Equal) {
				t.Errorf("killed %v, should be %v; returns %v, should be %v", made.killed, each.killed, made.returns, each.returns)
			}
		})
	}
}

func keysOf(changes []change) []string {
	var keys []string
	for _, each := range changes {
		keys = append(keys, each.key)
	}
	return keys
}

func TestAPodIsKilledWithNoTimeToEndAndThenGone(t *testing.T) {
	made, err := makePlan(values(t, map[string]string{"pods/a/p": pod("new", "")}), values(t, map[string]string{"pods/a/p": pod("old", "")}), nil)
	if err != nil {
		t.Fatal(err)
	}
	killed := decode("pods/a/p", made.kills[0].value)
	if grace := killed.content.GetDeletionGracePeriodSeconds(); !killed.isEnding() || grace == nil || *grace != 0 {
		t.Errorf("killed as %s", shown(killed.value))
	}
	steps := made.steps()
	if last := steps[2]; len(last) != 2 || last[0].value != nil || decode("", last[1].value).uid() != "old" {
		t.Errorf("the last step is %v", last)
	}
}

func TestWhatCannotBeReadIsComparedByItsBytes(t *testing.T) {
	made, err := makePlan(map[string][]byte{"secrets/a": []byte("x"), "secrets/b": []byte("x")}, map[string][]byte{"secrets/a": []byte("x"), "secrets/b": []byte("y")}, nil)
	if err != nil || !slices.Equal(keysOf(made.puts), []string{"secrets/b"}) || string(made.puts[0].value) != "y" {
		t.Errorf("%v, %v", made, err)
	}
}

func TestWhatControllersHaveMadeSinceOfWhatWasThereStays(t *testing.T) {
	replicas, replica := owned("ReplicaSet", "r", "d"), owned("Pod", "p", "r")
	account := func(manager string) string {
		return `{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: a, uid: s, managedFields: [` + by(manager) + `]}}`
	}
	for name, each := range map[string]struct {
		is, was map[string]string
		goes    []string
	}{
		"of a Deployment": {
			is: map[string]string{"deployments/a/d": deployment, "replicasets/a/r": replicas, "pods/a/x": replica}, was: map[string]string{"deployments/a/d": deployment}},
		"unless somebody has changed it": {
			is: map[string]string{"deployments/a/d": scaled, "replicasets/a/r": replicas, "pods/a/x": replica}, was: map[string]string{"deployments/a/d": deployment},
			goes: []string{"pods/a/x", "replicasets/a/r"}},
		"or it was not there": {
			is:   map[string]string{"deployments/a/d": deployment, "replicasets/a/r": replicas},
			goes: []string{"deployments/a/d", "replicasets/a/r"}},
		"a namespace's account": {
			is: map[string]string{"namespaces/a": namespace, "serviceaccounts/a/default": account("kube-controller-manager")}, was: map[string]string{"namespaces/a": namespace}},
		"but not a test's": {
			is: map[string]string{"namespaces/a": namespace, "serviceaccounts/a/default": account("kubectl")}, was: map[string]string{"namespaces/a": namespace},
			goes: []string{"serviceaccounts/a/default"}},
	} {
		t.Run(name, func(t *testing.T) {
			made, err := makePlan(values(t, each.is), values(t, each.was), nil)
			gone := slices.Sorted(slices.Values(append(keysOf(made.deletes), keysOf(made.kills)...)))
			if err != nil || !slices.Equal(gone, each.goes) {
				t.Errorf("%v; %v go, should be %v", err, gone, each.goes)
			}
		})
	}
}

func TestPodsReturnWhenTheKubeletsOfTheirNodesRest(t *testing.T) {
	nodes := []string{"control-plane", "worker"}
	for name, each := range map[string]struct {
		returns, waits byNode
		resting        []string
	}{
		"none does":               {byNode{"worker": {"1"}}, byNode{"worker": {"1"}}, nil},
		"another does":            {byNode{"worker": {"1"}}, byNode{"worker": {"1"}}, []string{"control-plane"}},
		"its does":                {byNode{"worker": {"1"}}, byNode{}, []string{"worker"}},
		"it may have been on any": {byNode{"": {"1"}}, byNode{"": {"1"}}, []string{"worker"}},
		"it may, and all rest":    {byNode{"": {"1"}}, byNode{}, nodes},
	} {
		t.Run(name, func(t *testing.T) {
			made := plan{returns: each.returns}
			if waits := made.unrested(nodes, each.resting); !maps.EqualFunc(waits, each.waits, slices.Equal) {
				t.Errorf("%v, should be %v", waits, each.waits)
			}
		})
	}
}

func TestASnapshotIsOfTheNodesThatItHas(t *testing.T) {
	saved := map[string][]byte{"minions/control-plane": nil, "minions/worker": nil}
	if err := checkNodes(saved, "s", []string{"worker", "control-plane"}); err != nil {
		t.Error(err)
	}
	if err := checkNodes(saved, "s", []string{"control-plane"}); err == nil || !strings.Contains(err.Error(), "it has control-plane, worker, the cluster has control-plane") {
		t.Error(err)
	}
}

func TestDirectoriesOfVolumes(t *testing.T) {
	saved := values(t, map[string]string{
		"persistentvolumes/a": `{apiVersion: v1, kind: PersistentVolume, metadata: {name: a}, spec: {local: {path: /b}}}`,
		"persistentvolumes/b": `{apiVersion: v1, kind: PersistentVolume, metadata: {name: b}, spec: {hostPath: {path: /a}}}`,
		"persistentvolumes/c": `{apiVersion: v1, kind: PersistentVolume, metadata: {name: c}, spec: {nfs: {server: s, path: /c}}}`,
	})
	if found := volumes(saved); !slices.Equal(found, []string{"/a", "/b"}) {
		t.Error(found)
	}
}

func TestPackedIsUnpacked(t *testing.T) {
	saved := map[string][]byte{"a": []byte("1"), "b/c": {0, 1, 255}}
	packed, err := pack(saved)
	if err != nil {
		t.Fatal(err)
	}
	unpacked, err := unpack(bytes.NewBuffer(packed))
	if err != nil || !maps.EqualFunc(unpacked, saved, bytes.Equal) {
		t.Errorf("%v, %v", unpacked, err)
	}
	if _, err := unpack(bytes.NewBuffer(packed[:len(packed)/2])); err == nil {
		t.Error("half of it is unpacked, too")
	}
}
