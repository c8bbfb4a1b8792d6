# A system in the manner of NixOS: services declare options and define units, files and users by them;
# what comes out is one derivation that depends on one for each unit and file.
{ name, number, services, broken ? false }:
let
  lib = import ./lib.nix;
  inherit (lib) mkOption types mkIf mkMerge mkDefault mkForce;
  range = builtins.genList (n: n);
  derive = name: text: derivation {
    inherit name text;
    system = "x86_64-linux";
    builder = "/bin/sh";
    args = [ "-c" "echo \"$text\" > $out" ];
  };

  unit = { config, ... }: {
    options = {
      enable = lib.mkEnable true;
      description = mkOption { type = types.str; default = ""; };
      after = mkOption { type = types.listOf types.str; default = [ ]; };
      wantedBy = mkOption { type = types.listOf types.str; default = [ ]; };
      environment = mkOption { type = types.attrsOf types.str; default = { }; };
      script = mkOption { type = types.lines; default = ""; };
      serviceConfig = mkOption { type = types.attrsOf types.str; default = { }; };
      restartIfChanged = lib.mkEnable true;
      text = mkOption { type = types.str; };
    };
    config = {
      environment.PATH = mkDefault "/run/current-system/sw/bin";
      serviceConfig.Restart = mkIf config.enable (mkDefault "on-failure");
      text = builtins.concatStringsSep "\n" (
        [ "Description=${config.description}" ] ++ map (a: "After=${a}") config.after
        ++ lib.values (builtins.mapAttrs (n: v: "Environment=${n}=${v}") config.environment)
        ++ lib.values (builtins.mapAttrs (n: v: "${n}=${v}") config.serviceConfig)
        ++ [ config.script ]);
    };
  };
  user = {
    options = {
      uid = mkOption { type = types.nullOr types.int; default = null; };
      home = mkOption { type = types.str; default = "/var/empty"; };
      groups = mkOption { type = types.listOf types.str; default = [ ]; };
      shell = mkOption { type = types.str; default = "/bin/sh"; };
    };
  };

  base = { config, ... }: {
    options = {
      networking.hostName = mkOption { type = types.str; };
      networking.ports = mkOption { type = types.listOf types.int; default = [ ]; };
      systemd.services = mkOption { type = types.attrsOf (types.submodule unit); default = { }; };
      users.users = mkOption { type = types.attrsOf (types.submodule user); default = { }; };
      environment.etc = mkOption { type = types.attrsOf types.lines; default = { }; };
      assertions = mkOption { type = types.listOf types.attrs; default = [ ]; };
      system.build = mkOption { type = types.attrs; default = { }; };
    };
    config = {
      users.users.root = { uid = 0; home = mkForce "/root"; };
      environment.etc.hostname = config.networking.hostName;
      environment.etc.passwd = builtins.concatStringsSep "\n" (lib.values (builtins.mapAttrs
        (n: u: "${n}:x:${toString u.uid}:${u.home}:${u.shell}:${toString u.groups}") config.users.users));
      environment.etc.firewall = toString config.networking.ports;
      assertions = [{ assertion = !broken; message = "${name} is broken on purpose"; }];
      system.build.toplevel =
        let
          failed = builtins.filter (a: !a.assertion) config.assertions;
          units = builtins.mapAttrs (n: u: derive "unit-${n}" u.text) config.systemd.services;
          # Of the host's own; the units are the same everywhere, as most of a real fleet's derivations are.
          etc = derive "etc-${name}" (toString (lib.values config.environment.etc));
        in
        if failed != [ ] then throw "Failed assertions:\n- ${(builtins.head failed).message}"
        else derive "nixos-system-${name}" "${toString (lib.values units)} ${etc}";
    };
  };

  service = id: { config, ... }:
    let key = "svc${toString id}"; cfg = config.services.${key}; in {
      options.services.${key} = {
        enable = lib.mkEnable false;
        port = mkOption { type = types.int; default = 1000 + id; };
        user = mkOption { type = types.str; default = key; };
        dataDir = mkOption { type = types.str; default = "/var/lib/${key}"; };
        workers = mkOption { type = types.int; default = 4; };
        logLevel = mkOption { type = types.str; default = "info"; };
        openFirewall = lib.mkEnable true;
        settings = mkOption { type = types.attrsOf types.str; default = { }; };
        extraConfig = mkOption { type = types.lines; default = ""; };
        instances = mkOption {
          type = types.attrsOf (types.submodule {
            options.port = mkOption { type = types.int; };
            options.weight = mkOption { type = types.int; default = 1; };
            options.backends = mkOption { type = types.listOf types.str; default = [ ]; };
          });
          default = { };
        };
      };
      config = mkIf cfg.enable (mkMerge [
        {
          services.${key}.settings = builtins.listToAttrs (map
            (n: { name = "key${toString n}"; value = mkDefault "${cfg.logLevel}-${toString n}"; }) (range 20));
          users.users.${cfg.user} = { uid = mkDefault (2000 + id); home = cfg.dataDir; groups = [ "daemon" ]; };
          environment.etc."${key}.conf" = builtins.concatStringsSep "\n" (
            lib.values (builtins.mapAttrs (n: v: "${n} = ${v}") cfg.settings)
            ++ lib.values (builtins.mapAttrs
              (n: i: "${n} ${toString i.port} ${toString i.weight} ${toString i.backends}") cfg.instances)
            ++ [ cfg.extraConfig ]);
          systemd.services.${key} = {
            description = "Service ${toString id}";
            after = [ "network.target" ] ++ (if id > 0 then [ "svc${toString (id - 1)}.service" ] else [ ]);
            wantedBy = [ "multi-user.target" ];
            environment.LEVEL = cfg.logLevel;
            script = "exec ${key} --port ${toString cfg.port} --user ${cfg.user}";
            serviceConfig = { User = cfg.user; StateDirectory = key; };
          };
        }
        (mkIf cfg.openFirewall { networking.ports = [ cfg.port ]; })
        (mkIf (id - id / 3 * 3 == 0) { systemd.services.${key}.serviceConfig.Restart = mkForce "always"; })
      ]);
    };

  host = {
    networking.hostName = name;
    services = builtins.listToAttrs (map
      (id: {
        name = "svc${toString id}";
        value = {
          enable = true;
          workers = 1 + number;
          extraConfig = "host ${name}";
          instances = builtins.listToAttrs (map
            (n: { name = "i${toString n}"; value = { port = 5000 + n; backends = [ "${name}-${toString n}" ]; }; })
            (range 20));
        };
      })
      (range services));
  };
in
lib.evalModules { modules = [ base { config = host; } ] ++ map service (range services); }
