#!/usr/bin/env bash
# Private database servers for the tests and the demo: unpacked, never installed as a service.
#
#   servers.sh setup [FLAVOR…]        make sure they are here (default: all); starts nothing
#   servers.sh create FLAVOR DATADIR  a fresh, empty data folder, copied from a ready one
#   servers.sh run FLAVOR DATADIR SOCKET PORT [OPTION…]   become the server, in the foreground
#   servers.sh client FLAVOR SOCKET [ARGUMENT…]           become its client, as root
#   servers.sh binlog FLAVOR [ARGUMENT…]                  become its mariadb-binlog or mysqlbinlog
#   servers.sh version FLAVOR         what it calls itself
#   servers.sh plugins FLAVOR         the folder of its plugins
#
# FLAVOR: mariadb-system (Debian 12: 10.11), mariadb-11 (11.8, from trixie), mysql-9 (9.x, from sid).
# They live in $TIDEWAY_SERVERS, by default ~/.cache/tideway-servers. All of it is safe to run again,
# and safe to run twice at the same time.
set -euo pipefail

cache=${TIDEWAY_SERVERS:-${XDG_CACHE_HOME:-$HOME/.cache}/tideway-servers}
# Raise it when the way a data folder is made changes: older ready ones are not used any more.
recipe=2

die() { printf 'error: %s\n' "$1" >&2; [ $# -lt 2 ] || printf 'fix: %s\n' "$2" >&2; exit 1; }
note() { printf '%s\n' "$*" >&2; }

as_root=()
[ "$(id -u)" != 0 ] || as_root=(--user=root)

# Runs $2… while holding the lock file $1, so that one process does the work and the others wait.
locked() {
  local lock=$1; shift
  mkdir -p "$(dirname "$lock")"
  ( flock 9; "$@" ) 9>"$lock"
}

## Setup

apt_install() { # WHAT-FOR PACKAGE…
  local why=$1; shift
  command -v apt-get >/dev/null ||
    die "$why is missing, and this is no Debian system to install it on" "install $* by hand, then run this again"
  [ "$(id -u)" = 0 ] ||
    die "$why is missing, and installing it needs root" "as root: apt-get update && apt-get install -y $*"
  note "installing $*"
  export DEBIAN_FRONTEND=noninteractive
  apt-get -qq -o DPkg::Lock::Timeout=300 update >&2 ||
    die "cannot read the package lists" "check the network, then run this again"
  apt-get -qq -y --no-install-recommends -o DPkg::Lock::Timeout=300 install "$@" >/dev/null ||
    die "cannot install $*" "see the messages of apt-get above"
}

setup_mariadb_system() {
  # The -core packages bring the programs without the system service: nothing is started.
  if ! [ -x /usr/sbin/mariadbd ] || ! command -v mariadb >/dev/null; then
    apt_install "MariaDB" mariadb-server-core mariadb-client-core
  fi
}

# Unpacks Debian packages of another suite into a folder of their own.
unpack() { # NAME SUITE PACKAGES
  local root=$cache/$1 part=$cache/$1.part
  [ -e "$root/.complete" ] && return
  command -v mmdebstrap >/dev/null || apt_install "mmdebstrap (it unpacks $1)" mmdebstrap
  note "unpacking $1 into $root"
  rm -rf "$part" "$root"
  mmdebstrap --quiet --variant=extract --aptopt='Acquire::Check-Valid-Until "false"' \
    --include="$3" "$2" "$part" >&2 ||
    die "cannot unpack $1 (Debian $2)" "it needs the network, and root or user namespaces; see above, then run this again"
  touch "$part/.complete"
  mv "$part" "$root"
}

setup() {
  local flavor
  # Dumps of another tool are loaded in the tests, and ours by it.
  command -v mydumper >/dev/null || apt_install "mydumper" mydumper
  # The tests of TLS make certificates of their own.
  command -v openssl >/dev/null || apt_install "openssl" openssl
  for flavor in "${@:-}"; do
    case $flavor in
      mariadb-system) setup_mariadb_system ;;
      mariadb-11) unpack mariadb-11 trixie mariadb-server-core,mariadb-client-core,mariadb-client,mariadb-server ;;
      mysql-9) unpack mysql-9 sid mysql-server-core,mysql-client-core ;;
      *) die "no such server: \`$flavor\`" "one of: mariadb-system mariadb-11 mysql-9" ;;
    esac
  done
}

## Programs

# Sets `program` (the command, as an array), `share` and `base` for a flavor.
locate() { # FLAVOR server|client|binlog
  local root=$cache/$1 lib
  case $1:$2 in
    mariadb-system:server) program=(/usr/sbin/mariadbd) base=/usr share=/usr/share/mysql ;;
    mariadb-system:client) program=(mariadb) ;;
    # It is in a package with the system service's files: that of the next release reads as well.
    mariadb-system:binlog) command -v mariadb-binlog >/dev/null || { locate mariadb-11 binlog; return; }
      program=(mariadb-binlog) ;;
    mariadb-11:server) program=("$root/usr/sbin/mariadbd") base=$root/usr share=$root/usr/share/mariadb ;;
    mariadb-11:client) program=("$root/usr/bin/mariadb") ;;
    mariadb-11:binlog) program=("$root/usr/bin/mariadb-binlog") ;;
    mysql-9:server) program=("$root/usr/sbin/mysqld") base=$root/usr share=$root/usr/share/mysql ;;
    mysql-9:client) program=("$root/usr/bin/mysql") ;;
    mysql-9:binlog) program=("$root/usr/bin/mysqlbinlog") ;;
    *) die "no such server: \`$1\`" "one of: mariadb-system mariadb-11 mysql-9" ;;
  esac
  [ "$1" != mariadb-system ] || return 0
  [ -e "$root/.complete" ] || die "$1 is not unpacked in \`$cache\`" "$0 setup $1"
  # Their own loader and libraries: they neither need nor touch the system's.
  lib=$(echo "$root"/usr/lib/*-linux-gnu)
  local loader
  loader=$(echo "$lib"/ld-linux-*.so.*)
  program=("$loader" --library-path "$lib:$root/usr/lib/mysql/private" "${program[@]}")
}

version() { # FLAVOR
  locate "$1" server
  "${program[@]}" --no-defaults --version | sed -nE 's/.*Ver ([0-9]+\.[0-9]+\.[0-9]+).*/\1/p'
}

## Data folders

create_mariadb() { # FLAVOR DATADIR
  locate "$1" server
  local name=mysql
  [ -e "$share/mysql_system_tables.sql" ] || name=mariadb
  {
    printf '%s\n' "create database mysql;" "use mysql;" "set @auth_root_socket=null;"
    cat "$share/${name}_system_tables.sql" "$share/${name}_performance_tables.sql" \
      "$share/${name}_system_tables_data.sql" "$share/maria_add_gis_sp_bootstrap.sql" \
      "$share/${name}_sys_schema.sql"
    # An account without a name would outrank 'tideway'@'%' for connections from this machine.
    printf '%s\n' "delete from mysql.global_priv where User='';"
  } | "${program[@]}" --no-defaults "${as_root[@]}" --bootstrap --basedir="$base" --datadir="$2" \
    --lc-messages-dir="$share" --plugin-dir="$base/lib/mysql/plugin" --skip-log-bin --tmpdir="$2.tmp" \
    --innodb-log-file-size=64M
}

create_mysql() { # FLAVOR DATADIR
  locate "$1" server
  "${program[@]}" --no-defaults "${as_root[@]}" --initialize-insecure --datadir="$2" --basedir="$base" \
    --lc-messages-dir="$share" --plugin-dir="$base/lib/mysql/plugin" --secure-file-priv=NULL --tmpdir="$2.tmp" \
    --innodb-redo-log-capacity=16M
}

make_ready_folder() { # FLAVOR FOLDER
  [ ! -e "$2/.complete" ] || return 0
  note "making a data folder for $1"
  local part=$2.part log=$2.log
  rm -rf "$part" "$2"
  # A folder for temporary tables of its own: a server that starts clears away what others have in /tmp.
  mkdir -p "$part" "$part.tmp"
  if [ "$1" = mysql-9 ]; then create_mysql "$1" "$part"; else create_mariadb "$1" "$part"; fi >"$log" 2>&1 ||
    { cat "$log" >&2; die "cannot make a data folder for $1" "the server's messages are above"; }
  # Each copy gets an identity and certificates of its own.
  rm -rf "$part/auto.cnf" "$part"/*.pem "$part.tmp"
  touch "$part/.complete"
  mv "$part" "$2"
}

create() { # FLAVOR DATADIR
  local ready
  ready=$cache/ready/$1-$(version "$1")-$recipe
  [ -e "$ready/.complete" ] || locked "$cache/ready/$1.lock" make_ready_folder "$1" "$ready"
  mkdir -p "$2"
  cp -a --reflink=auto --sparse=always "$ready/." "$2/"
  rm -f "$2/.complete"
}

## Running

run() { # FLAVOR DATADIR SOCKET PORT OPTION…
  local flavor=$1 data=$2 socket=$3 port=$4; shift 4
  mkdir -p "$data.tmp"
  local options=(
    --no-defaults "${as_root[@]}" --datadir="$data" --basedir="$base" --lc-messages-dir="$share"
    --plugin-dir="$base/lib/mysql/plugin" --socket="$socket" --pid-file="$data/server.pid" --port="$port"
    --tmpdir="$data.tmp"
    --bind-address=127.0.0.1 --log-bin=bin --binlog-format=ROW --skip-name-resolve
    # Small and quick: a private server loses nothing that matters when the machine loses power.
    --innodb-buffer-pool-size=96M --innodb-flush-log-at-trx-commit=2 --innodb-doublewrite=0 --sync-binlog=0
    --max-connections=100 --table-open-cache=400
  )
  if [ "$flavor" = mysql-9 ]; then
    # A keyring is a component: one that wants it has a manifest of its own in its data folder.
    [ -e "$base/sbin/mysqld.my" ] || printf '{"read_local_manifest": true}\n' >"$base/sbin/mysqld.my"
    options+=(--mysqlx=OFF --secure-file-priv=NULL --gtid-mode=ON --enforce-gtid-consistency=ON
      --innodb-redo-log-capacity=64M --log-error-verbosity=2)
  else
    options+=(--innodb-log-file-size=64M)
  fi
  exec "${program[@]}" "${options[@]}" "$@"
}

command=${1:-}; [ $# = 0 ] || shift
case $command in
  setup)
    [ $# -gt 0 ] || set -- mariadb-system mariadb-11 mysql-9
    locked "$cache/setup.lock" setup "$@" ;;
  create) create "$@" ;;
  run) locate "$1" server; run "$@" ;;
  client)
    locate "$1" client
    socket=$2; shift 2
    exec "${program[@]}" --no-defaults --default-character-set=utf8mb4 --user=root --socket="$socket" "$@" ;;
  binlog)
    locate "$1" binlog; shift
    exec "${program[@]}" --no-defaults "$@" ;;
  version) version "$1" ;;
  plugins) locate "$1" server; printf '%s\n' "$base/lib/mysql/plugin" ;;
  *) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2 ;;
esac
