package snapshot

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	etcd "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

const (
	apiServerManifest = "/etc/kubernetes/manifests/kube-apiserver.yaml"
	names             = "/kindasync/snapshots/" // + name: a Snapshot as JSON
	contents          = "/kindasync/snapshot-contents/"
	chunkBytes        = 1 << 20 // etcd takes requests of 1.5 MiB
	batchSize         = 100     // and transactions of 128 operations
	pageSize          = 2000
	created           = "created"        // the snapshot that is taken while nobody waits for it
	appearS           = 10 * time.Second // how long it may need
)

// Snapshot is one copy, as `list` tells it.
type Snapshot struct {
	Name     string    `json:"name"`
	Taken    time.Time `json:"taken"`
	Revision int64     `json:"revision"`
	Objects  int       `json:"objects"`
	Chunks   int       `json:"chunks"`
}

func (s Snapshot) prefix() string { return fmt.Sprintf("%s%s/%d/", contents, s.Name, s.Revision) }

// store is the API server's etcd. `prefix` is where its objects are.
type store struct {
	client *etcd.Client
	prefix string
}

// openStore connects as the API server of this node does: with what its manifest says.
func openStore() (*store, error) {
	text, err := os.ReadFile(apiServerManifest)
	if err != nil {
		return nil, fmt.Errorf("this node has no API server: %w", err)
	}
	var pod corev1.Pod
	if err := yaml.Unmarshal(text, &pod); err != nil {
		return nil, fmt.Errorf("%s: %w", apiServerManifest, err)
	}
	flags := map[string]string{"etcd-prefix": "/registry"}
	for _, argument := range append(pod.Spec.Containers[0].Command, pod.Spec.Containers[0].Args...) {
		if name, value, found := strings.Cut(strings.TrimPrefix(argument, "--"), "="); found {
			flags[name] = value
		}
	}
	tls := transport.TLSInfo{CertFile: flags["etcd-certfile"], KeyFile: flags["etcd-keyfile"], TrustedCAFile: flags["etcd-cafile"]}
	config := etcd.Config{Endpoints: strings.Split(flags["etcd-servers"], ","), DialTimeout: deadline / 2, MaxCallRecvMsgSize: 1 << 30}
	if config.TLS, err = tls.ClientConfig(); err != nil {
		return nil, err
	}
	client, err := etcd.New(config)
	if err != nil {
		return nil, err
	}
	return &store{client: client, prefix: strings.TrimSuffix(flags["etcd-prefix"], "/") + "/"}, nil
}

// read gives the values of all objects at a revision (0: now), by key without prefix, and that revision.
func (s *store) read(ctx context.Context, revision int64) (map[string][]byte, int64, error) {
	values := map[string][]byte{}
	for from, end := s.prefix, etcd.GetPrefixRangeEnd(s.prefix); ; {
		reply, err := s.client.Get(ctx, from, etcd.WithRange(end), etcd.WithRev(revision), etcd.WithLimit(pageSize))
		if err != nil {
			return nil, 0, err
		}
		if revision == 0 {
			revision = reply.Header.Revision
		}
		for _, each := range reply.Kvs {
			if key := strings.TrimPrefix(string(each.Key), s.prefix); !isTransient(key) {
				values[key] = each.Value
			}
		}
		if !reply.More {
			return values, revision, nil
		}
		from = string(reply.Kvs[len(reply.Kvs)-1].Key) + "\x00"
	}
}

// write carries out changes in their order.
func (s *store) write(ctx context.Context, changes []change) error {
	var batch []etcd.Op
	bytes := 0
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		_, err := s.client.Txn(ctx).Then(batch...).Commit()
		batch, bytes = nil, 0
		return err
	}
	inBatch := map[string]bool{} // a transaction takes each key once
	for _, each := range changes {
		if len(batch) == batchSize || bytes+len(each.value) > chunkBytes || inBatch[each.key] {
			if err := flush(); err != nil {
				return err
			}
			clear(inBatch)
		}
		inBatch[each.key] = true
		bytes += len(each.value)
		if each.value == nil {
			batch = append(batch, etcd.OpDelete(s.prefix+each.key))
		} else {
			batch = append(batch, etcd.OpPut(s.prefix+each.key, string(each.value)))
		}
	}
	return flush()
}

// take copies all objects as they were at a revision. It replaces a snapshot of that name when it is whole.
func (s *store) take(ctx context.Context, name string, revision int64) (Snapshot, error) {
	values, revision, err := s.read(ctx, revision)
	if err != nil {
		return Snapshot{}, err
	}
	packed, err := pack(values)
	if err != nil {
		return Snapshot{}, err
	}
	taken := Snapshot{Name: name, Taken: time.Now().UTC().Truncate(time.Second), Revision: revision, Objects: len(values)}
	for ; len(packed) > 0; taken.Chunks++ {
		chunk := packed[:min(len(packed), chunkBytes)]
		packed = packed[len(chunk):]
		if _, err := s.client.Put(ctx, fmt.Sprintf("%s%06d", taken.prefix(), taken.Chunks), string(chunk)); err != nil {
			return Snapshot{}, err
		}
	}
	text, err := json.Marshal(taken)
	if err != nil {
		return Snapshot{}, err
	}
	before, err := s.client.Put(ctx, names+name, string(text), etcd.WithPrevKV())
	if err != nil || before.PrevKv == nil {
		return taken, err
	}
	var replaced Snapshot
	if err := json.Unmarshal(before.PrevKv.Value, &replaced); err != nil || replaced.Revision == taken.Revision {
		return taken, err
	}
	_, err = s.client.Delete(ctx, replaced.prefix(), etcd.WithPrefix())
	return taken, err
}

func (s *store) list(ctx context.Context) ([]Snapshot, error) {
	reply, err := s.client.Get(ctx, names, etcd.WithPrefix())
	if err != nil {
		return nil, err
	}
	snapshots := make([]Snapshot, len(reply.Kvs))
	for index, each := range reply.Kvs {
		if err := json.Unmarshal(each.Value, &snapshots[index]); err != nil {
			return nil, err
		}
	}
	return snapshots, nil
}

func (s *store) drop(ctx context.Context, name string) (Snapshot, error) {
	found, err := s.find(ctx, name, 0)
	if err != nil {
		return Snapshot{}, err
	}
	_, err = s.client.Txn(ctx).Then(etcd.OpDelete(names+name), etcd.OpDelete(found.prefix(), etcd.WithPrefix())).Commit()
	return found, err
}

// find gives the snapshot of a name; one that is not there may appear `within` a time.
func (s *store) find(ctx context.Context, name string, within time.Duration) (Snapshot, error) {
	var found Snapshot
	reply, err := s.client.Get(ctx, names+name)
	if err != nil {
		return found, err
	}
	if len(reply.Kvs) > 0 {
		return found, json.Unmarshal(reply.Kvs[0].Value, &found)
	}
	waiting, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for changes := range s.client.Watch(waiting, names+name, etcd.WithRev(reply.Header.Revision+1), etcd.WithFilterDelete()) {
		for _, each := range changes.Events {
			return found, json.Unmarshal(each.Kv.Value, &found)
		}
	}
	return found, fmt.Errorf("there is no snapshot %q", name)
}

// load gives the values of a snapshot, by key.
func (s *store) load(ctx context.Context, name string) (map[string][]byte, error) {
	within := time.Duration(0)
	if name == created {
		within = appearS
	}
	found, err := s.find(ctx, name, within)
	if err != nil {
		return nil, err
	}
	var packed bytes.Buffer
	for chunk := range found.Chunks {
		reply, err := s.client.Get(ctx, fmt.Sprintf("%s%06d", found.prefix(), chunk))
		if err != nil {
			return nil, err
		}
		if len(reply.Kvs) == 0 {
			return nil, fmt.Errorf("snapshot %q is not whole", name)
		}
		packed.Write(reply.Kvs[0].Value)
	}
	return unpack(&packed)
}

func pack(values map[string][]byte) ([]byte, error) {
	var packed bytes.Buffer
	writer, _ := gzip.NewWriterLevel(&packed, gzip.BestSpeed) // the level is a valid one
	if err := gob.NewEncoder(writer).Encode(values); err != nil {
		return nil, err
	}
	err := writer.Close()
	return packed.Bytes(), err
}

func unpack(packed *bytes.Buffer) (map[string][]byte, error) {
	reader, err := gzip.NewReader(packed)
	if err != nil {
		return nil, err
	}
	values := map[string][]byte{}
	return values, gob.NewDecoder(reader).Decode(&values)
}
