# To be sourced: start_server FLAGS… starts a throw-away server, sets $address and $server_pid, and stops it at exit.

start_server() {
  local ready
  server_dir=$(mktemp -d)
  target/release/larder serve --listen 127.0.0.1:0 --resp off --memcache off "$@" >"$server_dir/ready" &
  server_pid=$!
  trap 'kill "$server_pid" 2>/dev/null || true; wait "$server_pid" 2>/dev/null || true; rm -rf "$server_dir"' EXIT
  for _ in $(seq 300); do
    [ -s "$server_dir/ready" ] && break
    kill -0 "$server_pid" 2>/dev/null || { echo "the server did not start" >&2; exit 1; }
    sleep 0.1
  done
  ready=$(cat "$server_dir/ready")
  address=$(printf '%s' "$ready" | sed -n 's/.*"native":"\([^"]*\)".*/\1/p')
  [ -n "$address" ] || { echo "the server is not ready after 30 s: $ready" >&2; exit 1; }
}
