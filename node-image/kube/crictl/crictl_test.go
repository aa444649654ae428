package crictl

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"

	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// runtime has one image, of one tag.
type runtime struct {
	runtimeapi.ImageServiceClient
}

var app = &runtimeapi.Image{Id: "sha256:0123456789abcdef", RepoTags: []string{"localhost:5001/app:1"}, Size: 42}

func (runtime) ListImages(context.Context, *runtimeapi.ListImagesRequest, ...grpc.CallOption) (*runtimeapi.ListImagesResponse, error) {
	return &runtimeapi.ListImagesResponse{Images: []*runtimeapi.Image{app}}, nil
}

func (runtime) ImageStatus(_ context.Context, request *runtimeapi.ImageStatusRequest, _ ...grpc.CallOption) (*runtimeapi.ImageStatusResponse, error) {
	if request.Image.Image != app.RepoTags[0] {
		return &runtimeapi.ImageStatusResponse{}, nil
	}
	return &runtimeapi.ImageStatusResponse{Image: app}, nil
}

func TestImagesAsTheKindProgramReadsThem(t *testing.T) {
	var out bytes.Buffer
	err := images(context.Background(), runtime{}, []string{"-o", "json"}, &out)

	var list struct{ Images []image }
	if err != nil || json.Unmarshal(out.Bytes(), &list) != nil {
		t.Fatal(err, out.String())
	}
	if got := list.Images; len(got) != 1 || got[0].ID != app.Id || got[0].RepoTags[0] != app.RepoTags[0] || got[0].Size != "42" {
		t.Error(got)
	}
	if !strings.Contains(out.String(), `"repoDigests": []`) { // not null
		t.Error(out.String())
	}
}

func TestImagesAsATable(t *testing.T) {
	var out bytes.Buffer
	err := images(context.Background(), runtime{}, nil, &out)

	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if err != nil || len(lines) != 2 || strings.Join(strings.Fields(lines[1]), " ") != "localhost:5001/app 1 0123456789abc 42" {
		t.Error(err, out.String())
	}
}

func TestOneImage(t *testing.T) {
	var out bytes.Buffer
	found := inspect(context.Background(), runtime{}, []string{"-o", "json", app.RepoTags[0]}, &out)
	missing := inspect(context.Background(), runtime{}, []string{"other:1"}, &out)

	var status struct{ Status image }
	if found != nil || json.Unmarshal(out.Bytes(), &status) != nil || status.Status.ID != app.Id {
		t.Error(found, out.String())
	}
	if missing == nil || !strings.Contains(missing.Error(), `no such image "other:1" present`) {
		t.Error(missing)
	}
}
