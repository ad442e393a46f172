package edgetest

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing/synctest"
)

// Changer is an edge whose services can be changed by a rollout. The files
// are the service files of the revisions.
type Changer interface {
	// Deploy serves the file's revision to everybody.
	Deploy(file string) error
	// Canary gives a share of the units, 0 to 1, to the file's revision. An empty file is the same canary with another share.
	Canary(file string, share float64) error
	// Promote and Undo end the rollout. After an Undo without one the revision before the last is served.
	Promote() error
	Undo() error
}

// compileChange reads
//
//	deploy + YAML
//	canary share=50% [+ YAML]
//	promote
//	undo
func (st statement) compileChange(verb, rest string) (func(*player) error, error) {
	share := 0.0
	if verb == "canary" {
		number, ok := strings.CutPrefix(rest, "share=")
		percent, isPercent := strings.CutSuffix(number, "%")
		f, err := strconv.ParseFloat(percent, 64)
		if !ok || !isPercent || err != nil || f < 0 || f > 100 {
			return nil, fmt.Errorf("%q is no share: write canary share=50%%", rest)
		}
		share = f / 100
	} else if err := alone(verb, rest); err != nil {
		return nil, err
	}
	yaml := st.blockText()
	if verb == "deploy" && yaml == "" {
		return nil, errors.New("deploy needs a service below it")
	}
	return func(p *player) error {
		if err := p.ready(); err != nil {
			return err
		}
		c, ok := p.edge.(Changer)
		if !ok {
			return errors.New("this edge knows no rollouts")
		}
		file := ""
		if yaml != "" {
			p.changes++
			name := fmt.Sprintf("revision-%d.yaml", p.changes)
			if err := p.writeFile(name, yaml); err != nil {
				return err
			}
			file = filepath.Join(p.dir, name)
		}
		var err error
		switch verb {
		case "deploy":
			err = c.Deploy(file)
		case "canary":
			err = c.Canary(file, share)
		case "promote":
			err = c.Promote()
		default:
			err = c.Undo()
		}
		synctest.Wait()
		return err
	}, nil
}
