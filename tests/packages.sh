# For the scripts beside it: installs those of Debian's packages in PACKAGES that are missing. To be sourced.

fail() {
    echo "tests/${0##*/}: $*" >&2
    exit 1
}

missing_packages() {
    local package
    for package in "${PACKAGES[@]}"; do
        [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] ||
            echo "$package"
    done
}

install_packages() {
    local missing
    missing=$(missing_packages | xargs)
    [[ -n $missing ]] || return 0
    command -v apt-get >/dev/null || fail "apt-get is not available, and these packages of Debian 12 are not installed: $missing"
    ((EUID == 0)) || fail "as root, run: apt-get install --no-install-recommends $missing"
    echo "Installing $missing ..." >&2
    {
        apt-get update -qq
        # shellcheck disable=SC2086  # one word a package
        DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends $missing
    } </dev/null >&2 || fail "apt-get could not install: $missing (Debian 12 has them)"
}
