// Package selvage is the vocabulary of the edge: the typed names, what a
// service and a node are configured to do, and the errors that cross the
// borders between stages.
//
// Look at [Service] first: it is what people deploy. [Node] is what belongs to
// one machine, [Config] is both together. The structs are the manual: the
// reference and the JSON Schema are generated from their comments and tags.
//
// It promises to hold data and validation only: no input or output, no clock,
// no goroutine, and nothing outside the standard library. It refuses to know
// how any stage works.
package selvage

// DefaultTenant owns everything where nobody named another tenant.
const DefaultTenant Tenant = "main"

// Tenant is who owns a service. Every key, quota, tag and token carries one.
type Tenant string

// ServiceName names a [Service] within its tenant.
type ServiceName string

// RouteName names a [Route] within its service.
type RouteName string

// OriginName names an [Origin] within its service.
type OriginName string

// FunctionName names a [Function] within its service.
type FunctionName string

// RevisionID is the content address of a compiled service: the first 16
// hexadecimal digits of the SHA-256 of its canonical form.
type RevisionID string

// NodeName names one process.
type NodeName string

// POP is a place with one or more nodes.
type POP string

// Zone is where data may live: one or more POPs.
type Zone string

// Tag is a cache key that groups answers for purging. It belongs to one service.
type Tag string

// Arm says on which side of a rollout a request was served.
type Arm string

// The arms. Without a rollout every request is of the baseline.
const (
	Baseline Arm = "baseline"
	Canary   Arm = "canary"
)

// Config is everything that one process was told.
type Config struct {
	Node     Node
	Services []Service
	Outside  map[ServiceName]Outside // of the services that were read from files
}

// Outside is what a service's file says instead of the values that came from
// elsewhere.
type Outside struct {
	Folder string            // the file's, absolute: what it names is relative to it
	Values map[string]string // ${env:NAME} and ${file:PATH} as they are written, by their paths
}
