package snapshot

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	_ "k8s.io/kubernetes/pkg/controlplane" // its kinds
)

var (
	protobufPrefix = []byte("k8s\x00")
	codec          = protobuf.NewSerializer(legacyscheme.Scheme, legacyscheme.Scheme)
)

// object is what lies at a key of etcd. `content` is nil where it cannot be read (encrypted at rest, say): then only its bytes count.
type object struct {
	key     string
	value   []byte
	content *unstructured.Unstructured
	builtIn bool // its status belongs to controllers that run in the cluster
}

func decode(key string, value []byte) *object {
	result := &object{key: key, value: value}
	switch {
	case bytes.HasPrefix(value, protobufPrefix):
		if typed, _, err := codec.Decode(value, nil, nil); err == nil {
			if content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(typed); err == nil {
				result.content, result.builtIn = &unstructured.Unstructured{Object: content}, true
			}
		}
	case bytes.HasPrefix(value, []byte("{")):
		content := map[string]any{}
		if json.Unmarshal(value, &content) == nil {
			result.content = &unstructured.Unstructured{Object: content}
		}
	}
	return result
}

func decodeAll(values map[string][]byte) map[string]*object {
	objects := make(map[string]*object, len(values))
	for key, value := range values {
		objects[key] = decode(key, value)
	}
	return objects
}

// encode is the reverse of decode, for built-in objects.
func encode(content *unstructured.Unstructured) ([]byte, error) {
	typed, err := legacyscheme.Scheme.New(content.GroupVersionKind())
	if err != nil {
		return nil, err
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content.Object, typed); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = codec.Encode(typed, &out)
	return out.Bytes(), err
}

func (o *object) uid() string {
	if o.content == nil {
		return ""
	}
	return string(o.content.GetUID())
}

func (o *object) owners() []metav1.OwnerReference {
	if o.content == nil {
		return nil
	}
	return o.content.GetOwnerReferences()
}

// node is where a pod runs; empty while it is not placed.
func (o *object) node() string {
	if o.content == nil {
		return ""
	}
	return text(o.content, "spec", "nodeName")
}

// text gives a field; empty if it is not there.
func text(content *unstructured.Unstructured, fields ...string) string {
	value, _, _ := unstructured.NestedString(content.Object, fields...)
	return value
}

func (o *object) isPod() bool  { return strings.HasPrefix(o.key, "pods/") }
func (o *object) isNode() bool { return strings.HasPrefix(o.key, "minions/") }

func (o *object) isEnding() bool { return o.content != nil && o.content.GetDeletionTimestamp() != nil }

// hasEnded tells of a pod whose containers will not run again.
func (o *object) hasEnded() bool {
	if o.content == nil || !o.isPod() {
		return false
	}
	phase := text(o.content, "status", "phase")
	return phase == "Succeeded" || phase == "Failed"
}

// is tells whether an object is still the one of the snapshot: no other of its name, not about to be deleted, and no pod that should
// run for ever and was evicted.
func (o *object) is(saved *object) bool {
	if o.uid() != saved.uid() || o.isEnding() && !saved.isEnding() {
		return false
	}
	return !o.hasEnded() || saved.hasEnded() || text(o.content, "spec", "restartPolicy") != "Always"
}

// passes tells of what was about to go by itself: it was being deleted, or is a finished Job with a time to live.
func (o *object) passes() bool {
	if o.content == nil || !strings.HasPrefix(o.key, "jobs/") {
		return o.isEnding()
	}
	_, lives, _ := unstructured.NestedFieldNoCopy(o.content.Object, "spec", "ttlSecondsAfterFinished")
	return o.isEnding() || lives && slices.ContainsFunc(entries(o.content, "status", "conditions"), func(condition map[string]any) bool {
		return (condition["type"] == "Complete" || condition["type"] == "Failed") && condition["status"] == "True"
	})
}

// restored is what an object has to become: what it was, but for what belongs to the cluster's own programs as they are now.
// nil: it is that already.
func (o *object) restored(saved *object) ([]byte, error) {
	if bytes.Equal(o.value, saved.value) {
		return nil, nil
	}
	if !o.builtIn || !saved.builtIn || !o.is(saved) {
		return saved.value, nil
	}
	wanted := saved.content.DeepCopy()
	now := o.content
	if !statusIsAsked[strings.SplitN(o.key, "/", 2)[0]] {
		keep(wanted, now, "status")
	}
	mix(wanted, saved.content, now, isOfCluster, "metadata", "managedFields")
	wanted.SetAnnotations(withComponents(wanted.GetAnnotations(), now))
	switch {
	case o.isPod():
		keep(wanted, now, "spec", "nodeName")
	case o.isNode():
		for _, field := range []string{"capacity", "allocatable"} { // where a test has added extended resources
			keep(wanted, saved.content, "status", field)
		}
		mix(wanted, saved.content, now, isOfKubelet, "status", "conditions")
		mix(wanted, saved.content, now, followsConditions, "spec", "taints")
	case o.key == "configmaps/kube-public/cluster-info":
		signatures(wanted, now)
	case byComponent(saved.content) && (strings.HasPrefix(o.key, "endpointslices/") || strings.HasPrefix(o.key, "services/endpoints/")):
		return nil, nil // all of it is a controller's
	}
	if generation := now.GetGeneration(); generation > wanted.GetGeneration() { // it never goes back: controllers say up to which they have come
		if !reflect.DeepEqual(wanted.Object["spec"], now.Object["spec"]) {
			generation++
		}
		wanted.SetGeneration(generation)
	}
	if reflect.DeepEqual(wanted.Object, now.Object) {
		return nil, nil
	}
	return encode(wanted)
}

// recreated is what an object that is not there any more has to become. The containers of a pod that ran have ended; until its kubelet
// says so, too, it counts as Ready, with no address: of too many pods controllers delete those first that are not.
func (o *object) recreated() ([]byte, error) {
	if !o.builtIn || !o.isPod() || o.hasEnded() {
		return o.value, nil
	}
	wanted := o.content.DeepCopy()
	status := map[string]any{"phase": "Pending"}
	if o.node() != "" {
		var conditions []any
		for _, kind := range []string{"PodScheduled", "Initialized", "ContainersReady", "Ready"} {
			conditions = append(conditions, map[string]any{"type": kind, "status": "True"})
		}
		status = map[string]any{"phase": "Running", "conditions": conditions}
	}
	wanted.Object["status"] = status
	keep(wanted, o.content, "status", "qosClass")
	return encode(wanted)
}

// keep takes a field over from another object, also its absence.
func keep(into, from *unstructured.Unstructured, fields ...string) {
	value, found, err := unstructured.NestedFieldCopy(from.Object, fields...)
	if err == nil && found {
		_ = unstructured.SetNestedField(into.Object, value, fields...) // only fails where a parent is no map, and kinds are equal
	} else {
		unstructured.RemoveNestedField(into.Object, fields...)
	}
}

// withComponents adds to annotations those that Kubernetes' own programs have written since.
func withComponents(annotations map[string]string, now *unstructured.Unstructured) map[string]string {
	present := now.GetAnnotations()
	for _, each := range entries(now, "metadata", "managedFields") {
		if !components[fmt.Sprint(each["manager"])] {
			continue
		}
		written, _, _ := unstructured.NestedMap(each, "fieldsV1", "f:metadata", "f:annotations")
		for field := range written {
			name := strings.TrimPrefix(field, "f:")
			value, has := present[name]
			if _, had := annotations[name]; has && !had {
				if annotations == nil {
					annotations = map[string]string{}
				}
				annotations[name] = value
			}
		}
	}
	return annotations
}

// components are Kubernetes' own programs, as managers of fields.
var components = map[string]bool{"kube-apiserver": true, "kube-controller-manager": true, "kube-scheduler": true, "kubelet": true}

// byComponent tells whether one of Kubernetes' own programs has written an object.
func byComponent(content *unstructured.Unstructured) bool {
	return slices.ContainsFunc(content.GetManagedFields(), func(entry metav1.ManagedFieldsEntry) bool { return components[entry.Manager] })
}

// statusIsAsked: the first parts of the keys of objects whose status is no controller's of the cluster itself: who approves or publishes sets it.
var statusIsAsked = map[string]bool{"certificatesigningrequests": true, "ingress": true}

// isOfCluster: entries of managedFields that are not those of users.
func isOfCluster(entry map[string]any) bool {
	return components[fmt.Sprint(entry["manager"])] || entry["subresource"] == "status"
}

// isOfKubelet: a node's conditions that are not somebody's addition.
func isOfKubelet(condition map[string]any) bool {
	return slices.Contains([]any{"Ready", "MemoryPressure", "DiskPressure", "PIDPressure"}, condition["type"])
}

// followsConditions: a node's taints that follow its conditions; all others are somebody's wish.
func followsConditions(taint map[string]any) bool {
	return slices.Contains([]any{
		"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable", "node.kubernetes.io/network-unavailable",
		"node.kubernetes.io/memory-pressure", "node.kubernetes.io/disk-pressure", "node.kubernetes.io/pid-pressure",
	}, taint["key"])
}

// signatures gives what nodes read that join the signatures that it has now: a controller makes one for each token, and removes it with the token.
func signatures(wanted, now *unstructured.Unstructured) {
	data := map[string]any{}
	for from, signed := range map[*unstructured.Unstructured]bool{wanted: false, now: true} {
		all, _, _ := unstructured.NestedMap(from.Object, "data")
		for name, value := range all {
			if strings.HasPrefix(name, "jws-kubeconfig-") == signed {
				data[name] = value
			}
		}
	}
	_ = unstructured.SetNestedMap(wanted.Object, data, "data") // wanted is a map
}

// mix gives a list the entries that it had, but for those that `theirs` tells to be the cluster's: of these it gives those of now.
func mix(wanted, saved, now *unstructured.Unstructured, theirs func(map[string]any) bool, fields ...string) {
	var result []any
	for _, each := range entries(saved, fields...) {
		if !theirs(each) {
			result = append(result, each)
		}
	}
	present := entries(now, fields...)
	for _, each := range present {
		if theirs(each) {
			result = append(result, each)
		}
	}
	isThere := func(each any) bool {
		return slices.ContainsFunc(present, func(other map[string]any) bool { return reflect.DeepEqual(each, any(other)) })
	}
	if len(result) == len(present) && !slices.ContainsFunc(result, func(each any) bool { return !isThere(each) }) {
		keep(wanted, now, fields...) // nor in another order
	} else if len(result) == 0 {
		unstructured.RemoveNestedField(wanted.Object, fields...)
	} else {
		_ = unstructured.SetNestedSlice(wanted.Object, result, fields...) // as in keep
	}
}

// entries gives a list's maps.
func entries(content *unstructured.Unstructured, fields ...string) []map[string]any {
	all, _, _ := unstructured.NestedSlice(content.Object, fields...)
	result := make([]map[string]any, 0, len(all))
	for _, each := range all {
		if entry, ok := each.(map[string]any); ok {
			result = append(result, entry)
		}
	}
	return result
}
