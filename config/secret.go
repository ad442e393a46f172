package config

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/selvage-edge/selvage"
)

// ReadSecret is the value of a secret of this machine, if the service may have it.
// No error has the value in it, nor does one say whether a secret that is not
// granted exists.
func ReadSecret(granted map[string]selvage.Secret, service selvage.ServiceName, name string) (string, error) {
	s, ok := granted[name]
	if !ok || !slices.Contains(s.Services, service) {
		return "", fmt.Errorf("${secret:%s} is not granted to service %s on this node: add it to secrets in the node file", name, service)
	}
	value, err := readSecret(s, os.LookupEnv)
	if err != nil {
		return "", fmt.Errorf("${secret:%s}: %w", name, err)
	}
	return value, nil
}

func readSecret(s selvage.Secret, env func(string) (string, bool)) (string, error) {
	var value string
	if s.Env != "" {
		v, ok := env(s.Env)
		if !ok {
			return "", fmt.Errorf("the environment variable %q is not set", s.Env)
		}
		value = v
	} else {
		data, err := readBounded(s.File)
		if err != nil {
			return "", fmt.Errorf("read %s: %w", s.File, err)
		}
		value = strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	}
	switch {
	case value == "":
		return "", errors.New("it is empty")
	case !utf8.ValidString(value):
		return "", errors.New("it is not UTF-8")
	}
	return value, nil
}
