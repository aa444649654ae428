package snapshot

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

const rounds = 5

// Restored is what a restore has done, and has left to do in the nodes. `Keys`: what was changed. `Killed`: pods that are no more, and
// `Returning`: those that have to come back, when the kubelets of their nodes rest, and nothing of them runs any more; then
// `restore` has to go on. `Volumes`: the directories of nodes that PersistentVolumes of the snapshot have. For `tidy`.
type Restored struct {
	Keys      []string `json:"keys"`
	Killed    byNode   `json:"killed"`
	Returning byNode   `json:"returning"`
	Volumes   []string `json:"volumes"`
}

// restore makes the objects again what they were. Whoever still runs in the cluster goes on making objects until it learns that it is
// gone: what has been made meanwhile is deleted, too.
//
// A kubelet that is still ending a pod, or has just ended it, says so of the one that comes back under the same UID. It forgets
// when it is started anew; those of `resting` are stopped.
func restore(ctx context.Context, store *store, name string, nodes, resting []string) (Restored, error) {
	done := Restored{Keys: []string{}, Killed: byNode{}}
	saved, err := store.load(ctx, name)
	if err != nil {
		return done, err
	}
	if err := checkNodes(saved, name, nodes); err != nil {
		return done, err
	}
	done.Volumes = volumes(saved)
	settled := map[string]bool{}
	for range rounds {
		current, _, err := store.read(ctx, 0)
		if err != nil {
			return done, err
		}
		next, err := makePlan(current, saved, settled)
		if err != nil {
			return done, err
		}
		if done.Returning = next.unrested(nodes, resting); len(done.Returning) > 0 {
			return done, nil
		}
		for _, step := range next.steps() {
			if err := store.write(ctx, step); err != nil {
				return done, err
			}
		}
		for node, uids := range next.killed {
			done.Killed[node] = append(done.Killed[node], uids...)
		}
		for _, each := range slices.Concat(next.puts, next.after) {
			settled[each.key] = true
		}
		keys := next.keys()
		if len(keys) == 0 {
			break
		}
		done.Keys = append(done.Keys, keys...)
	}
	return done, nil
}

// checkNodes refuses what cannot be restored: a cluster that has other nodes now.
func checkNodes(saved map[string][]byte, name string, nodes []string) error {
	had := map[string]bool{}
	for key := range saved {
		if node, found := strings.CutPrefix(key, "minions/"); found {
			had[node] = true
		}
	}
	has := map[string]bool{}
	for _, node := range nodes {
		has[node] = true
	}
	if !maps.Equal(had, has) {
		return fmt.Errorf("snapshot %q is of other nodes: it has %s, the cluster has %s", name,
			strings.Join(slices.Sorted(maps.Keys(had)), ", "), strings.Join(slices.Sorted(maps.Keys(has)), ", "))
	}
	return nil
}

// volumes gives the directories of nodes that the PersistentVolumes among objects have.
func volumes(saved map[string][]byte) []string {
	directories := []string{}
	for key, value := range saved {
		if !strings.HasPrefix(key, "persistentvolumes/") {
			continue
		}
		if content := decode(key, value).content; content != nil {
			for _, kind := range []string{"hostPath", "local"} {
				spec, _ := content.Object["spec"].(map[string]any)
				if source, ok := spec[kind].(map[string]any); ok {
					if path, ok := source["path"].(string); ok {
						directories = append(directories, path)
					}
				}
			}
		}
	}
	slices.Sort(directories)
	return directories
}
