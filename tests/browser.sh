#!/usr/bin/env bash
# Debian's Chromium and its driver, for the tests of pages in a real browser (pytest -m browser).
#
#   tests/browser.sh install   install what is missing
set -euo pipefail

PACKAGES=(chromium chromium-driver)

# shellcheck source=tests/packages.sh
source "$(dirname "$0")/packages.sh"

case ${1:-} in
    install) install_packages ;;
    *)
        echo "usage: tests/browser.sh install" >&2
        exit 2
        ;;
esac
