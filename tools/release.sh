#!/bin/sh
# Static binaries with their checksums, the same bytes from the same commit.
set -eu
cd "$(dirname "$0")/.."
version=${VERSION:-$(git describe --tags --always --dirty)}
rm -rf dist
mkdir dist
for target in linux/amd64 linux/arm64 darwin/amd64 darwin/arm64; do
	name=selvage-$version-${target%/*}-${target#*/}
	echo "$name"
	mkdir "dist/$name"
	CGO_ENABLED=0 GOOS=${target%/*} GOARCH=${target#*/} go build -trimpath -buildvcs=false \
		-ldflags "-s -w -X main.version=$version" -o "dist/$name/selvage" ./cmd/selvage
	cp LICENSE README.md CHANGELOG.md contrib/selvage.service "dist/$name/"
	# One owner, one order, one time: the archive is the same wherever it is made.
	tar --sort=name --owner=0 --group=0 --numeric-owner --mtime='2000-01-01 00:00Z' -C dist -cf - "$name" | gzip -n >"dist/$name.tar.gz"
	rm -r "dist/$name"
done
(cd dist && sha256sum ./*.tar.gz >SHA256SUMS)
