# `make run` and `make test` set up all they need: Go and nothing else.
RACE := $(if $(CI),-race)

run: build ; @bin/selvage try
test:     ; go test $(RACE) -timeout 20m ./...
check:    ; sh tools/check.sh
lint:     ; go tool -modfile=tools/go.mod golangci-lint run
bench:    ; go run ./bench
fuzz:     ; sh tools/fuzz.sh
build:    ; CGO_ENABLED=0 go build -trimpath -o bin/selvage ./cmd/selvage
generate: ; go generate ./...
examples: ; sh tools/examples.sh
conform:  ; cd tools && go test -count=1 -v ./conform
release:  ; sh tools/release.sh
clean:    ; rm -rf bin dist
.PHONY: run test check lint bench fuzz build generate examples conform release clean
