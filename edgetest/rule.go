package edgetest

import (
	"fmt"
	"strconv"
	"strings"
)

// pos is a place in a scenario.
type pos struct {
	file string
	line int
}

func (p pos) errorf(format string, args ...any) error {
	return fmt.Errorf("%s:%d: "+format, append([]any{p.file, p.line}, args...)...)
}

// blockLine is an indented line below a statement.
type blockLine struct {
	pos
	text string
}

var ruleWords = []string{"answers", "does", "echoes"}

// parseRule reads what an origin shall do:
//
//	[once | twice | N times] [at PATH] (answers STATUS [BODY] | does | echoes)
func parseRule(line string, block []blockLine) (rule, error) {
	r := rule{left: -1, script: new(script)}
	first, rest := word(line)
	switch n, err := strconv.Atoi(first); {
	case first == "once":
		r.left = 1
	case first == "twice":
		r.left = 2
	case err == nil && n > 0:
		times, more := word(rest)
		if times != "times" {
			return r, fmt.Errorf("%q behind a number: write %d times", times, n)
		}
		r.left, rest = n, more
	default:
		rest = line
	}
	if path, ok := strings.CutPrefix(rest, "at "); ok {
		r.path, rest = word(path)
	}
	verb, rest := word(rest)
	switch verb {
	case "answers":
		code, body := word(rest)
		status, err := strconv.Atoi(code)
		if err != nil || status < 100 || status > 999 {
			return r, fmt.Errorf("%q is not a status: write answers 200 BODY", code)
		}
		if r.script.body, err = text(body); err != nil {
			return r, err
		}
		r.script.status = status
	case "does":
		r.script.raw = true
	case "echoes":
		r.script.mirrors = true
	default:
		return r, unknown("verb of an origin", verb, ruleWords)
	}
	if verb != "answers" && rest != "" {
		return r, fmt.Errorf("%s stands alone, got %q behind it", verb, rest)
	}
	return r, r.script.parseSteps(block)
}
