package snapshot

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
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
	name, _, _ := unstructured.NestedString(o.content.Object, "spec", "nodeName")
	return name
}

func (o *object) isPod() bool  { return strings.HasPrefix(o.key, "pods/") }
func (o *object) isNode() bool { return strings.HasPrefix(o.key, "minions/") }

// is tells whether an object is still the one of the snapshot: no other of its name, and not about to be deleted.
func (o *object) is(saved *object) bool {
	return o.uid() == saved.uid() && (o.content == nil || o.content.GetDeletionTimestamp() == nil || saved.content.GetDeletionTimestamp() != nil)
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
	keep(wanted, now, "status")
	keep(wanted, now, "metadata", "managedFields")
	wanted.SetAnnotations(withControllers(wanted.GetAnnotations(), now.GetAnnotations()))
	switch {
	case o.isPod():
		keep(wanted, now, "spec", "nodeName")
	case o.isNode():
		for _, field := range []string{"capacity", "allocatable"} { // where a test has added extended resources
			keep(wanted, saved.content, "status", field)
		}
		taints(wanted, now)
	case len(o.owners()) > 0 && strings.HasPrefix(o.key, "endpointslices/"), strings.HasPrefix(o.key, "services/endpoints/"):
		return nil, nil // all of it is a controller's
	}
	if reflect.DeepEqual(wanted.Object, now.Object) {
		return nil, nil
	}
	return encode(wanted)
}

// recreated is what an object that is not there any more has to become. A pod's containers have ended; until its kubelet says so, too, it
// counts as Ready, with no address: of too many pods controllers delete those first that are not.
func (o *object) recreated() ([]byte, error) {
	if !o.builtIn || !o.isPod() {
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

// withControllers adds to annotations those that Kubernetes' own controllers have written since.
func withControllers(annotations, now map[string]string) map[string]string {
	for name, value := range now {
		domain, _, _ := strings.Cut(name, "/")
		if _, had := annotations[name]; !had && domain != "kubectl.kubernetes.io" && (domain == "kubernetes.io" || strings.HasSuffix(domain, ".kubernetes.io")) {
			if annotations == nil {
				annotations = map[string]string{}
			}
			annotations[name] = value
		}
	}
	return annotations
}

// conditionTaints follow a node's conditions; all others are somebody's wish.
var conditionTaints = map[string]bool{
	"node.kubernetes.io/not-ready": true, "node.kubernetes.io/unreachable": true, "node.kubernetes.io/network-unavailable": true,
	"node.kubernetes.io/memory-pressure": true, "node.kubernetes.io/disk-pressure": true, "node.kubernetes.io/pid-pressure": true,
}

// taints gives a node its own taints back, with those that its conditions have now.
func taints(wanted, now *unstructured.Unstructured) {
	var result []any
	for _, from := range []struct {
		node         *unstructured.Unstructured
		ofConditions bool
	}{{wanted, false}, {now, true}} {
		all, _, _ := unstructured.NestedSlice(from.node.Object, "spec", "taints")
		for _, each := range all {
			if taint, ok := each.(map[string]any); ok && conditionTaints[taint["key"].(string)] == from.ofConditions {
				result = append(result, each)
			}
		}
	}
	if len(result) == 0 {
		unstructured.RemoveNestedField(wanted.Object, "spec", "taints")
		return
	}
	_ = unstructured.SetNestedSlice(wanted.Object, result, "spec", "taints") // spec is a map
}
