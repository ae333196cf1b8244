#!/bin/sh
# The browser tests drive Debian's Chromium.  Installs it where it is missing and can be; the tests say so where not.
set -u
command -v chromium >/dev/null 2>&1 && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null
else
  echo "chromium is not installed: browser tests will be skipped (Debian: apt-get install chromium)"
fi
exit 0
