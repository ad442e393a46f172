//go:build race

package rollout

// raced says that the race detector watches: simulations are shorter then.
const raced = true
