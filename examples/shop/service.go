package shop

import (
	"bytes"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
)

//go:embed shop.yaml
var serviceFile []byte

//go:embed sorry.html
var sorryPage []byte

// Endpoint is where the service files of the examples look for the shop.
const Endpoint = "127.0.0.1:3000"

const endpoint = "http://" + Endpoint

// WriteService writes the service file, and the page it names, into a folder,
// for a shop at a URL such as http://127.0.0.1:41234. It returns the file's name.
func WriteService(folder, url string) (file string, err error) {
	if bytes.Count(serviceFile, []byte(endpoint)) != 1 {
		return "", fmt.Errorf("shop.yaml must name %s once", endpoint)
	}
	file = filepath.Join(folder, "shop.yaml")
	if err := os.WriteFile(file, bytes.Replace(serviceFile, []byte(endpoint), []byte(url), 1), 0o644); err != nil {
		return "", err
	}
	return file, os.WriteFile(filepath.Join(folder, "sorry.html"), sorryPage, 0o644)
}
