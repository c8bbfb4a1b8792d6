# A unit that serves the release's name at /healthz; with a `status` other than 200 it runs just as fine and
# answers every request with that status (busybox httpd can't, so a line of nc does).
{ sh, script }:
{ port ? 80, release, status ? 200 }: {
  description = "web server";
  exec =
    if status == 200 then ''
      printf '%s\n' '${release}' > "$RUNTIME_DIRECTORY/healthz"
      exec ${sh} httpd -f -p ${toString port} -h "$RUNTIME_DIRECTORY"
    '' else ''
      exec ${sh} nc -ll -p ${toString port} -e ${script "answer-${toString status}" ''
        while read -r line && [ "''${#line}" -gt 1 ]; do :; done
        printf 'HTTP/1.0 ${toString status} Broken\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nbroken\n'
      ''}
    '';
  lines = [ "RuntimeDirectory=minios-web-${toString port}" "Restart=on-failure" "RestartSec=1s" ];
}
