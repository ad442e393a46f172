package control

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
	"github.com/selvage-edge/selvage/state"
)

// Bounds on what is sent.
const (
	maxBlob = 256 << 20 // bytes of one blob
	maxPlan = 9 << 20   // bytes of a request with a manifest in it
)

var progressType = reflect.TypeFor[client.Progress]()

func (s *Server) revisionOperations(api huma.API) {
	type list struct{ Body client.RevisionList }
	registerChange(s, api, huma.Operation{
		OperationID: "revision-list", Method: http.MethodGet, Path: "/v1/revisions", Summary: "The revisions, the newest first",
	}, func(ctx context.Context, in *struct {
		Service string `query:"service" maxLength:"63"`
	}) (*list, error) {
		out := new(list)
		all, err := s.History.Revisions(ctx, in.Service)
		out.Body.Revisions = append([]client.Revision{}, all...)
		return out, err
	})
	type shown struct{ Body client.RevisionManifest }
	registerChange(s, api, huma.Operation{
		OperationID: "revision-show", Method: http.MethodGet, Path: "/v1/revisions/{revision}", Summary: "A revision with its manifest",
	}, func(ctx context.Context, in *struct {
		Revision string `path:"revision" pattern:"^[0-9a-f]{4,16}$" doc:"its id, or the unique beginning of it"`
	}) (*shown, error) {
		r, manifest, err := s.History.Manifest(ctx, in.Revision)
		return &shown{client.RevisionManifest{Revision: r, Contents: json.RawMessage(manifest)}}, err
	})
	type planned struct{ Body client.Plan }
	registerChange(s, api, huma.Operation{
		OperationID: "plan", Method: http.MethodPost, Path: "/v1/plan", MaxBodyBytes: maxPlan,
		Summary: "What a revision would change", Description: "By the parts of the service, not by lines. Nothing is kept.",
	}, func(ctx context.Context, in *struct{ Body client.PlanRequest }) (*planned, error) {
		p, err := s.History.Plan(ctx, []byte(in.Body.Manifest))
		if p.Differences == nil {
			p.Differences = []client.Difference{}
		}
		return &planned{p}, err
	})
	s.blobOperations(api)
}

// BlobPath names a blob in a path.
type BlobPath struct {
	Digest string `path:"digest" pattern:"^[0-9a-f]{64}$" doc:"its SHA-256"`
}

func (b BlobPath) key(s *Server) (state.BlobKey, error) {
	d, err := state.ParseDigest(b.Digest)
	return state.BlobKey{Tenant: s.tenant(), Digest: d}, err
}

// blobUpload reads its body as it comes, not into memory.
type blobUpload struct {
	BlobPath
	Length int64 `header:"Content-Length"`
	body   io.Reader
}

// Resolve is huma.Resolver.
func (u *blobUpload) Resolve(ctx huma.Context) []error {
	u.body = ctx.BodyReader()
	return nil
}

func (s *Server) blobOperations(api huma.API) {
	register(api, huma.Operation{
		OperationID: "blob-put", Method: http.MethodPut, Path: "/v1/blobs/{digest}", DefaultStatus: http.StatusNoContent,
		Summary: "Send a blob", Description: "It is stored if it is what its digest says. At most 256 MiB.",
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
			"application/octet-stream": {Schema: &huma.Schema{Type: "string", Format: "binary"}},
		}},
		SkipValidateBody: true, MaxBodyBytes: maxBlob,
	}, func(ctx context.Context, in *blobUpload) (*struct{}, error) {
		key, err := in.key(s)
		if err != nil {
			return nil, err
		}
		most := orDefault(s.blobMost, maxBlob)
		if in.Length > most {
			s.limitHit("blob")
			return nil, errTooLarge
		}
		bounded := &boundedReader{r: in.body, left: most}
		if err = s.State.Blobs.Put(ctx, key, bounded); bounded.left < 0 {
			s.limitHit("blob")
			return nil, errTooLarge
		}
		return nil, err
	})
	type info struct {
		Size string `header:"Selvage-Size" doc:"its bytes"`
	}
	register(api, huma.Operation{
		OperationID: "blob-head", Method: http.MethodHead, Path: "/v1/blobs/{digest}", DefaultStatus: http.StatusNoContent,
		Summary: "Ask whether a blob is there",
	}, func(ctx context.Context, in *BlobPath) (*info, error) {
		key, err := in.key(s)
		if err != nil {
			return nil, err
		}
		b, err := s.State.Blobs.Stat(ctx, key)
		return &info{sizeText(b.Size)}, err
	})
}

var errTooLarge = huma.NewError(http.StatusRequestEntityTooLarge, "a blob has at most 256 MiB")

// boundedReader fails where more comes than may.
type boundedReader struct {
	r    io.Reader
	left int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, selvage.Errorf(selvage.Invalid, "a blob has at most %d bytes", maxBlob)
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left+1)])
	b.left -= int64(n)
	if b.left < 0 {
		return 0, selvage.Errorf(selvage.Invalid, "a blob has at most %d bytes", maxBlob)
	}
	return n, err
}
