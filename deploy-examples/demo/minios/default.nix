# minios: systems without nixpkgs that behave like NixOS in everything a deployer touches. A closure of
# several store paths with bin/switch-to-configuration, activate, units, and services that really run.
# Not an operating system: the machine below it brings systemd, sshd and Nix.
{ busyboxDir, system ? "x86_64-linux" }:

let
  # builtins.path, so that a system's hash depends on busybox and not on the flake around it. The file's name
  # must start with "busybox", or it doesn't know that it is the multi-call binary.
  busybox = builtins.path {
    name = "busybox-static";
    path = busyboxDir;
    filter = path: _: baseNameOf path == "busybox";
  };
  sh = "${busybox}/busybox";

  attrs = set: map (name: { inherit name; value = set.${name}; }) (builtins.attrNames set);
  lines = builtins.concatStringsSep "\n";

  run = name: env: script: derivation ({
    inherit name system;
    builder = sh;
    args = [ "sh" "-euc" script ];
  } // env);

  # An executable script that is a store path of its own.
  script = name: text: run name { inherit text; passAsFile = [ "text" ]; } ''
    { echo '#!${sh} sh'; cat "$textPath"; } > "$out"
    chmod 755 "$out"
  '';
  # builtins.toFile builds nothing, so it is the quick one, but its text can't refer to built paths.
  file = name: text: builtins.toFile name text;
  builtFile = name: text: run name { inherit text; passAsFile = [ "text" ]; } ''cp "$textPath" "$out"'';

  # sw/bin of every system: enough of a PATH for scripts and for a shell.
  tools = run "minios-tools" { } ''
    mkdir -p "$out/bin"
    for tool in sh cat cp ls ln mkdir mv rm sed grep awk head tail wget sleep date id env true false; do
      ln -s ${sh} "$out/bin/$tool"
    done
  '';

  awk = "${tools}/bin/awk";

  web = import ./web.nix { inherit sh script; };

  # Many or big store paths, for copying. `salt` changes what every file refers to and nothing else.
  ballastPaths = { count, bytes ? 1024, salt ? "", name ? "ballast" }:
    let
      seed = file "${name}-seed" salt;
      small = index: file "${name}-${toString index}" ''
        ${seed}
        ${toString index} ${lines (builtins.genList (line: "filler ${toString (line * index)}") (bytes / 16))}
      '';
      big = index: run "${name}-${toString index}" { inherit seed; } ''
        { echo "$seed"; head -c ${toString bytes} /dev/urandom; } > "$out"
      '';
    in
    builtins.genList (if bytes <= 65536 then small else big) count;

  # A user's profile: with `activate` as home-manager makes one, with `deployRs` as deploy-rs does (both are shell
  # text), with neither a plain program that is there once the profile names it.
  mkProfile = { name, release ? "1", activate ? null, deployRs ? null }:
    run "${name}-${release}" { } ''
      mkdir -p "$out/bin"
      ln -s ${script "${name}-program" "echo ${name} ${release}"} "$out/bin/${name}"
      ${if activate == null then "" else ''ln -s ${script "activate" activate} "$out/activate"''}
      ${if deployRs == null then "" else ''ln -s ${script "deploy-rs-activate" deployRs} "$out/deploy-rs-activate"''}
    '';

  # As home-manager's activation package: its script makes the package a generation of its own profile, in the user's state
  # directory where there are profiles, unless that names it already.
  mkHome = { release, more ? "" }:
    let text = ''
      profiles=$HOME/.local/state/nix/profiles
      [ -d "$profiles" ] || profiles=/nix/var/nix/profiles/per-user/$USER
      if [ "$(readlink -f "$profiles/home-manager")" != @out@ ]; then nix-env -p "$profiles/home-manager" --set @out@ || exit 1; fi
      echo "$USER ${release}" > "$HOME/.home-manager"
      ${more}
    '';
    in run "home-manager-generation-${release}" { inherit text; passAsFile = [ "text" ]; } ''
      mkdir -p "$out/bin"
      ln -s ${sh} "$out/bin/home-tool"
      { echo '#!${sh} sh'; sed "s|@out@|$out|g" "$textPath"; } > "$out/activate"
      chmod 755 "$out/activate"
    '';

  # As deploy-rs's activate.nixos: links to all of a system, and the script that switches to it; or another one, as
  # activate.custom makes it.
  activatable = activatableBy ''exec "$PROFILE/bin/switch-to-configuration" switch'';
  activatableBy = activate: toplevel: run "activatable-${toplevel.name}" { } ''
    mkdir -p "$out/bin"
    for entry in ${toplevel}/*; do
      [ "$entry" = ${toplevel}/bin ] || ln -s "$entry" "$out/"
    done
    ln -s ${toplevel}/bin/* "$out/bin/"
    ln -s ${script "deploy-rs-activate" activate} "$out/deploy-rs-activate"
  '';

  mkSystem =
    { name
    , release ? "1"
      # { web = { exec = "…"; } } or { "web.mount" = { text = "[Unit]…"; }; } (see unitText). More of a unit:
      # wanted = false (nothing starts it), masked = true, dropIn = "text" (NAME.d/, beside the file or, with
      # onlyDropIn = true, instead of it)
    , units ? { }
      # the same for users' managers
    , userUnits ? { }
      # shell text that each user's nixos-activation.service runs
    , userActivation ? null
      # shell text, run as root by `activate` after the built-in steps
    , activation ? ""
      # shell text called with TOPLEVEL ACTION; failing stops the switch before it began
    , preSwitchCheck ? ""
    , initInterface ? "1"
      # whose switch-to-configuration: "2026" or "2024", where they differ
    , age ? "2026"
      # lines of /etc/fstab, and of systemd's own configuration
    , fstab ? ""
    , systemConf ? ""
      # false: a system from before there was a sysinit-reactivation.target; one that has no activation script
    , sysinitReactivation ? true
    , activates ? true
      # { "motd" = "text"; }: files under etc/ of the system, linked to /etc/minios/NAME on the host
    , files ? { }
      # { count; bytes; salt; }, this system's own
    , ballast ? null
      # the same, named so that systems with equal arguments share the paths
    , shared ? null
      # what a fault from `faults` brings along: any of the arguments above
    , with' ? { }
    }@given:
    let
      arg = key: default: with'.${key} or (given.${key} or default);
      named = set: map
        ({ name, value }:
          let unit = if builtins.match ".*[.](service|timer|socket|target|path|mount|slice)" name != null then name else "${name}.service";
          in { inherit unit value; })
        (attrs set);
      allUnits = named (targets // units // (with'.units or { }));
      allUserUnits = named (userTargets // userUnits // (with'.userUnits or { }) // activationUnit);
      # An active target is started again by every switch: this starts what is new in it, and in its fstab's.
      targets = {
        "minios.target" = { wanted = false; text = "[Unit]\nDescription=Units of the minios system\n"; };
        "local-fs.target" = {
          wanted = false;
          text = ''
            [Unit]
            Description=Local File Systems
            DefaultDependencies=no
            After=local-fs-pre.target
            Conflicts=shutdown.target
            OnFailure=emergency.target
            OnFailureJobMode=replace-irreversibly
          '';
        };
      } // (if !(arg "sysinitReactivation" true) then { } else {
        "sysinit-reactivation.target" = {
          wanted = false;
          text = "[Unit]\nDescription=Units before sysinit.target that a switch restarts\n";
        };
      });
      userTargets."default.target" = {
        wanted = false;
        text = "[Unit]\nDescription=Units of a user\nRequires=basic.target\nAfter=basic.target\nAllowIsolate=yes\nConflicts=shutdown.target\n";
      };
      activationUnit = if (arg "userActivation" null) == null then { } else {
        nixos-activation = { wanted = false; type = "oneshot"; exec = arg "userActivation" null; };
      };
      # A directory with the unit in it, as on NixOS: systemd wants the file itself to have the unit's name.
      unitFile = unit: value: run "unit-${plain unit}" { text = value.text or (unitText unit value); passAsFile = [ "text" ]; } ''
        mkdir "$out"
        cp "$textPath" "$out/${unit}"
      '';
      # A name that a store path can have.
      plain = builtins.replaceStrings [ "@" "\\" ] [ "-at-" "-" ];
      unitText = unit: value: ''
        [Unit]
        Description=${value.description or unit}
        ${lines (value.unitLines or [ ])}
        [Service]
        Type=${value.type or "simple"}
        ExecStart=${script "exec-${plain unit}" value.exec}
        ${lines (value.lines or [ ])}
      '';
      # Shell text that puts a unit into the folder $to.
      placed = wants: { unit, value }: ''
        ${if value.masked or false then "ln -s /dev/null $to/${unit}"
          else if value.onlyDropIn or false then ""
          else "ln -s ${unitFile unit value}/${unit} $to/${unit}"}
        ${if value ? dropIn then "mkdir $to/${unit}.d; ln -s ${file "overrides.conf" value.dropIn} $to/${unit}.d/overrides.conf" else ""}
        ${if value.masked or false || !(value.wanted or (builtins.match ".*@[.].*" unit == null)) then ""
          else "mkdir -p $to/${wants}.wants; ln -s ../${unit} $to/${wants}.wants/${unit}"}
      '';
      etc = run "etc" { } ''
        mkdir -p "$out/systemd/system" "$out/systemd/user" "$out/minios"
        to=$out/systemd/system
        ${lines (map (placed "minios.target") allUnits)}
        to=$out/systemd/user
        ${lines (map (placed "default.target") allUserUnits)}
        ln -s ${file "system.conf" "[Manager]\n${arg "systemConf" ""}\n"} "$out/systemd/system.conf"
        ${if arg "fstab" "" == "" then "" else "ln -s ${file "fstab" (arg "fstab" "")} $out/fstab"}
        ${lines (map (f: "ln -s ${builtFile (baseNameOf f.name) f.value} $out/minios/${f.name}") (attrs (arg "files" { })))}
      '';
      ballastList =
        (if (arg "ballast" null) == null then [ ] else ballastPaths ({ name = "ballast-${name}"; } // arg "ballast" null))
        ++ (if (arg "shared" null) == null then [ ] else ballastPaths ({ name = "ballast-shared"; } // arg "shared" null));
      activateScript = script "activate-${name}" ''
        ${builtins.readFile ./activate.sh}
        activation_snippet() {
          :
          ${arg "activation" ""}
        }
        activate_system "$@"
      '';
      check = script "pre-switch-check" "${arg "preSwitchCheck" ""}\nexit 0\n";
      switchParts = builtins.path { name = "switch-parts"; path = ./switch; };
      filled = builtins.replaceStrings [ "@switch@" "@awk@" "@age@" ] [ "${switchParts}" awk (arg "age" "2026") ];
      switchUser = script "switch-user" (filled (builtins.readFile ./switch-user.sh));
      switchScript = script "switch-to-configuration-${name}" (builtins.replaceStrings [ "@switchUser@" ] [ "${switchUser}" ]
        (filled (builtins.readFile ./switch-to-configuration.sh)));
      toplevel = run "nixos-system-${name}-${release}" {
        refs = builtFile "ballast-list" (lines ballastList);
      } ''
        mkdir -p "$out/bin"
        ln -s ${etc} "$out/etc"
        ln -s ${tools} "$out/sw"
        # These two must know which system they belong to.
        sed "s|@out@|$out|g" ${switchScript} > "$out/bin/switch-to-configuration"
        sed "s|@out@|$out|g" ${activateScript} > "$out/activate"
        printf '#!%s sh\necho "would activate %s"\n' ${sh} "$out" > "$out/dry-activate"
        chmod 755 "$out/bin/switch-to-configuration" "$out/activate" "$out/dry-activate"
        ${if arg "activates" true then "" else "rm $out/activate"}
        ln -s ${check} "$out/pre-switch-check"
        ln -s "$refs" "$out/ballast"
        printf 'minios-%s' ${release} > "$out/nixos-version"
        printf '%s' ${arg "initInterface" "1"} > "$out/init-interface-version"
        printf '%s' ${system} > "$out/system"
        printf '%s' ${name} > "$out/hostname"
      '';
    in
    {
      config = {
        system.build.toplevel = toplevel;
        system.nixos.release = release;
        networking.hostName = name;
      };
      pkgs = { inherit system; stdenv.hostPlatform.system = system; };
    };

in
{
  inherit mkSystem mkProfile mkHome activatable activatableBy web;
  faults = import ./faults.nix;
}
