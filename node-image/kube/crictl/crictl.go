// Package crictl answers as crictl for what the kind program calls in a node: `images` and `inspecti`.
// cri-tools itself is not to be had as a Go module; the JSON here has the names and shapes of crictl's.
package crictl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	endpoint = "unix:///run/containerd/containerd.sock"
	deadline = 10 * time.Second
	usage    = "usage: crictl images [-o json] | crictl inspecti IMAGE...\n(the part of crictl that a kindasync node image has; use ctr -n k8s.io for the rest)"
)

type image struct {
	ID          string   `json:"id"`
	RepoTags    []string `json:"repoTags"`
	RepoDigests []string `json:"repoDigests"`
	Size        string   `json:"size"`
	Pinned      bool     `json:"pinned"`
}

func fromCRI(from *runtimeapi.Image) image {
	return image{
		ID: from.GetId(), RepoTags: orEmpty(from.GetRepoTags()), RepoDigests: orEmpty(from.GetRepoDigests()),
		Size: strconv.FormatUint(from.GetSize(), 10), Pinned: from.GetPinned(),
	}
}

func orEmpty(texts []string) []string { // crictl prints [], not null
	if texts == nil {
		return []string{}
	}
	return texts
}

// Main runs one command; its error is for stderr, with exit code 1.
func Main(args []string) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	connection, err := grpc.NewClient(endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	service := runtimeapi.NewImageServiceClient(connection)
	switch args[0] {
	case "images", "image", "img":
		return images(ctx, service, args[1:], os.Stdout)
	case "inspecti":
		return inspect(ctx, service, args[1:], os.Stdout)
	default:
		return fmt.Errorf("unknown command %q\n%s", args[0], usage)
	}
}

func images(ctx context.Context, service runtimeapi.ImageServiceClient, args []string, out io.Writer) error {
	reply, err := service.ListImages(ctx, &runtimeapi.ListImagesRequest{})
	if err != nil {
		return err
	}
	list := []image{}
	for _, each := range reply.GetImages() {
		list = append(list, fromCRI(each))
	}
	if wantsJSON(args) {
		return printJSON(out, map[string]any{"images": list})
	}
	table := tabwriter.NewWriter(out, 0, 8, 3, ' ', 0)
	fmt.Fprintln(table, "IMAGE\tTAG\tIMAGE ID\tSIZE")
	for _, each := range list {
		for _, reference := range each.RepoTags {
			colon := strings.LastIndex(reference, ":")
			fmt.Fprintf(table, "%s\t%s\t%.13s\t%s\n", reference[:colon], reference[colon+1:], strings.TrimPrefix(each.ID, "sha256:"), each.Size)
		}
	}
	return table.Flush()
}

func inspect(ctx context.Context, service runtimeapi.ImageServiceClient, references []string, out io.Writer) error {
	for index, reference := range references {
		if strings.HasPrefix(reference, "-") || index > 0 && (references[index-1] == "-o" || references[index-1] == "--output") {
			continue // the output is JSON whatever the flag says
		}
		reply, err := service.ImageStatus(ctx, &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: reference}})
		if err != nil {
			return err
		}
		if reply.GetImage() == nil {
			return fmt.Errorf("no such image %q present", reference)
		}
		if err := printJSON(out, map[string]any{"status": fromCRI(reply.GetImage()), "info": map[string]string{}}); err != nil {
			return err
		}
	}
	return nil
}

func wantsJSON(args []string) bool {
	joined := strings.Join(args, " ")
	return strings.Contains(joined, "json")
}

func printJSON(out io.Writer, value any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}
