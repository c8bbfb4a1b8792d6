# Store paths for the copy benchmark: small ones, big ones of real bytes, and packages of another distribution with references
# as Nix's have them. `salt` changes what everything refers to, and with that every hash, and nothing else.
{ salt, corpus ? "", text ? "" }:
let
  busybox = builtins.path {
    name = "busybox-static";
    path = ./.;
    filter = path: _: baseNameOf path == "busybox";
  };
  sh = "${busybox}/busybox";
  run = name: env: script: derivation ({
    inherit name;
    system = "x86_64-linux";
    builder = sh;
    args = [ "sh" "-euc" script ];
  } // env);
  seed = builtins.toFile "seed-1.0" salt;
  rest = number: by: number - (number / by) * by;
  size = builtins.stringLength text;
in
{
  # 2 KiB of text each.
  small = count: builtins.genList
    (index: builtins.toFile "small-${toString index}-1.0"
      "${seed}\n${builtins.substring (rest (index * 4099) (size - 2048)) 2048 text}\n${toString index}\n")
    count;

  # `mib` of the corpus each.
  big = count: mib: builtins.genList
    (index: run "big-${toString index}-1.0" { inherit seed; } ''
      { echo "$seed"; dd if=${corpus} bs=1048576 skip=${toString (index * mib)} count=${toString mib} 2> /dev/null; } > "$out"
    '')
    count;

  # [ { name; tree; } … ], each with a reference to the one before it: at the end of every ELF file, as a RUNPATH is a string of
  # the file, and in the first line of every script.
  packages = list: builtins.tail (builtins.foldl'
    (done: package: done ++ [
      (run package.name { inherit seed; before = builtins.elemAt done (builtins.length done - 1); } ''
        cp -R ${package.tree}/data "$out"
        chmod -R u+w "$out"
        while read -r file; do printf '%s/lib:%s/lib:%s/lib\0' "$out" "$before" "$seed" >> "$out/$file"; done < ${package.tree}/elf
        while read -r file; do sed -i "1s|^#! */|#!$before/|" "$out/$file"; done < ${package.tree}/scripts
      '')
    ]) [ seed ]
    list);
}
