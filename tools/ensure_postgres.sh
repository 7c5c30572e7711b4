# Source this to make the PostgreSQL server programs available to the tests. Sets PATH; leaves the rest alone.
#
# Found: nothing to do. Missing on a machine of CI (CI=true): installed through apt-get, and a failure to do so is a
# failure. Missing elsewhere: said, and the tests that need it are skipped with that reason.

find_postgres() {
  command -v initdb >/dev/null && return 0
  for bin in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /opt/homebrew/opt/postgresql*/bin; do
    [ -x "$bin/initdb" ] && PATH="$PATH:$bin" && export PATH && return 0
  done
  return 1
}

install_postgres() {
  command -v apt-get >/dev/null || return 1
  sudo=''
  [ "$(id -u)" = 0 ] || sudo='sudo -n'
  echo 'PostgreSQL is missing: installing it with apt-get' >&2
  export DEBIAN_FRONTEND=noninteractive
  $sudo apt-get -qq update >/dev/null && $sudo apt-get -qq install --no-install-recommends postgresql >/dev/null
}

if ! find_postgres; then
  if [ "${CI:-}" = true ]; then
    install_postgres && find_postgres || { echo 'PostgreSQL could not be installed; CI must test with it' >&2; exit 1; }
  else
    echo 'PostgreSQL is missing: tests on it are skipped. On Debian: apt-get install postgresql' >&2
  fi
fi
