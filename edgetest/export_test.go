package edgetest

import (
	"errors"
	"testing"
	"testing/synctest"
)

// Mistakes is what is wrong with a scenario's text.
func Mistakes(file, source string) error {
	_, err := parseScenario(file, source)
	return err
}

// Rehearse plays a scenario and returns what Play would report.
func Rehearse(t *testing.T, source string, start func(Setup) (Edge, error)) error {
	ops, err := parseScenario("scenario.txt", source)
	if err != nil {
		return err
	}
	dir := t.TempDir()
	t.Run("bubble", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newPlayer(t, dir, start)
			err = p.play(ops)
			err = errors.Join(err, p.end())
		})
	})
	return err
}
