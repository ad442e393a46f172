package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/selvage-edge/selvage"
)

// expander puts in what ${…} stands for in the files of one folder.
type expander struct {
	folder string
	env    func(string) (string, bool)
	read   []string // the files that were read

	// deployed is for a service that no one machine has: of it ${secret:NAME} stands
	// for what secret gives, or for a placeholder where nobody knows it yet.
	deployed bool
	secret   func(name string) (string, error)

	// written lets ${…} stand for itself: for a service that is shown, not run.
	written bool
}

// expand puts in the values that text names. used says that there was one.
// $${ is written for the characters ${.
func (x *expander) expand(text string) (out string, used bool, err error) {
	var b strings.Builder
	for {
		i := strings.Index(text, "${")
		if i < 0 {
			b.WriteString(text)
			return b.String(), used, nil
		}
		if i > 0 && text[i-1] == '$' {
			b.WriteString(text[:i-1] + "${")
			text = text[i+2:]
			continue
		}
		b.WriteString(text[:i])
		word, rest, closed := strings.Cut(text[i+2:], "}")
		if !closed {
			return "", false, errors.New("${ has no }: write $${ for the characters")
		}
		value, err := x.value(word)
		if err != nil {
			return "", false, err
		}
		b.WriteString(value)
		text, used = rest, true
		if b.Len() > maxFile {
			return "", false, fmt.Errorf("${%s} makes the value larger than 1MiB", word)
		}
	}
}

func (x *expander) value(word string) (string, error) {
	kind, name, _ := strings.Cut(word, ":")
	if x.written {
		return "${" + word + "}", nil
	}
	if x.deployed {
		return x.deployedValue(kind, name, word)
	}
	switch kind {
	case "env":
		if v, ok := x.env(name); ok && name != "" {
			if !utf8.ValidString(v) {
				return "", fmt.Errorf("the environment variable %q is not UTF-8", name)
			}
			return v, nil
		}
		return "", fmt.Errorf("the environment variable %q is not set", name)
	case "file":
		return x.file(name)
	case "secret":
		return "", fmt.Errorf("${%s} is for services that are deployed, a file that is run here has none: write ${env:NAME} or ${file:PATH}", word)
	}
	return "", fmt.Errorf("${%s} stands for nothing: write ${env:NAME} or ${file:PATH}, and $${ for the characters", word)
}

// deployedValue is what a word stands for in a service that is deployed.
func (x *expander) deployedValue(kind, name, word string) (string, error) {
	switch {
	case kind == "env", kind == "file":
		return "", fmt.Errorf("${%s} is of this machine, a deployed service runs on others: write ${secret:NAME}, or the value", word)
	case kind != "secret" || !selvage.ValidSecretName(name):
		return "", fmt.Errorf("${%s} stands for nothing: write ${secret:NAME} with a name of lower-case letters, digits and hyphens", word)
	case x.secret == nil:
		return "secret-" + name, nil
	}
	return x.secret(name)
}

func (x *expander) file(name string) (string, error) {
	if name == "" {
		return "", errors.New("${file:} names no file: write ${file:PATH}")
	}
	path := resolve(x.folder, name)
	data, err := readBounded(path)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	x.read = append(x.read, path)
	s := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if !utf8.ValidString(s) {
		return "", fmt.Errorf("read %s: it is not UTF-8", path)
	}
	return s, nil
}

// escape writes text so that expand gives it back.
func escape(text string) string { return strings.ReplaceAll(text, "${", "$${") }

// resolve is the absolute path of a file that a file in folder names.
func resolve(folder, name string) string {
	if !filepath.IsAbs(name) {
		name = filepath.Join(folder, name)
	}
	if abs, err := filepath.Abs(name); err == nil {
		return abs
	}
	return name
}

// plainError is an error of a file without its path, which the message has already.
func plainError(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("there is no such file")
	case errors.Is(err, fs.ErrPermission):
		return errors.New("it may not be read")
	}
	if path, ok := errors.AsType[*os.PathError](err); ok {
		return path.Err
	}
	return err
}
