#!/usr/bin/env bash
# Builds the Dockerfile where no Docker engine runs: Debian's buildah, without privileges of its own, on a base made by
# debootstrap that stands in for the base image. Says how large the result is, what fills it and who it runs as, and sends
# a signed message through its processes as the chart starts them; the sandbox beside them is that of the second image.
# As root, on Debian; not part of the tests.
#
#     apt-get install buildah debootstrap
#     helm/try_image.sh [folder for everything that is made]
set -euo pipefail
cd "$(dirname "$0")/.."
work=${1:-$(mktemp -d)}
base=localhost/python:slim-bookworm
image=localhost/dcbridge:try
trial=localhost/dcbridge-trial:try
mkdir -p "$work"
export BUILDAH_ISOLATION=chroot DEBIAN_FRONTEND=noninteractive
buildah() { command buildah --storage-driver vfs "$@"; }

if ! buildah inspect --type image "$base" >/dev/null 2>&1; then
    mirror=$(grep -rhs '^URIs:.*/debian$' /etc/apt/sources.list.d | awk '{print $2; exit}')
    debootstrap --variant=minbase --include=ca-certificates bookworm "$work/base" ${mirror:+"$mirror"}
    chroot "$work/base" apt-get install --yes --quiet --no-install-recommends python3 python3-venv
    rm -rf "$work"/base/var/lib/apt/lists/* "$work"/base/var/cache/apt/archives/*.deb
    container=$(buildah from scratch)
    tar -C "$work/base" --exclude='./proc/*' --exclude='./sys/*' -cf "$work/base.tar" .
    buildah add --quiet "$container" "$work/base.tar" /
    buildah commit --quiet "$container" "$base"
    buildah rm "$container" >/dev/null
fi

# Packages come from where this machine's pip gets them.
volumes=()
for path in /etc/pip.conf /etc/ssl/certs /opt/wheels /opt/pypi /opt/pypi-more; do
    [ -e "$path" ] && volumes+=(--volume "$path:$path:ro")
done
build() {
    buildah build --quiet --network host "${volumes[@]}" --build-arg BASE="$base" \
        --build-arg REVISION="$(git rev-parse HEAD)" --format docker "$@" .
}
build --tag "$image"
build --target trial --tag "$trial"

container=$(buildah from --pull-never "$image")
beside=$(buildah from --pull-never "$trial")
trap 'buildah rm "$container" "$beside" >/dev/null' EXIT
root=$(buildah mount "$container")
echo "== what it says of itself"
buildah inspect --type image --format \
    'user {{.Docker.Config.User}}  entrypoint {{.Docker.Config.Entrypoint}}  health {{.Docker.Config.Healthcheck.Test}}' "$image"
echo "== size, MB: all of it, the base, Python's environment, tini"
du -sm "$root" | cut -f1
bare=$(buildah from --pull-never "$base")
du -sm "$(buildah mount "$bare")" | cut -f1
buildah rm "$bare" >/dev/null
(cd "$root" && du -sm opt/dcbridge && du -sk usr/bin/tini)
echo "== what fills the environment, MB"
(cd "$root"/opt/dcbridge/lib/python3*/site-packages && du -sm -- * | sort -rn | head -12)
echo "== what must not be there"
(cd "$root" && find . -xdev \( -path './opt/*/sandbox' -o -path './opt/*/aiosmtpd' -o -path '*/bin/*gcc*' -o -path '*/bin/cc' -o -name pip -path './opt/*' -o -path '*/.cache/*' -o -path '*/apt/lists/*_*' \
    -o -name '*.whl' -path './opt/*' -o -perm -4000 -path './opt/*' \) -print | grep . || echo "nothing of it is")
echo "== a signed message through its processes"
"${PYTHON:-.venv/bin/python}" -m tests.helm.through image "$root" "$(buildah mount "$beside")"
