# A hive as colmena.lib.makeHive makes it; nothing in it is flurry's. `flurry deploy` reads the `colmenaHive` output.
# minios (../demo/minios) stands for nixpkgs and colmena, so that it runs without them. With the real thing:
#   colmenaHive = colmena.lib.makeHive { meta.nixpkgs = …; web = { deployment = { targetHost = "h1"; }; … }; };
{
  outputs = { self }:
    let
      minios = import ./minios { busyboxDir = ./.; };
      nodes = {
        web = minios.mkSystem { name = "web"; release = "1"; };
        db = minios.mkSystem { name = "db"; release = "1"; };
      };
      deployment = {
        targetPort = null;
        targetUser = "root";
        tags = [ ];
        allowLocalDeployment = false;
        buildOnTarget = false;
        replaceUnknownProfiles = true;
        privilegeEscalationCommand = [ "sudo" "-H" "--" ];
        sshOptions = [ ];
        keys = { };
      };
    in
    {
      colmenaHive = {
        __schema = "v0.5";
        inherit nodes;
        metaConfig = { name = "hive"; allowApplyAll = true; machinesFile = null; };
        toplevel = builtins.mapAttrs (_: node: node.config.system.build.toplevel) nodes;
        deploymentConfig = {
          web = deployment // { targetHost = "h1"; tags = [ "web" ]; };
          db = deployment // { targetHost = "h2"; buildOnTarget = true; };
        };
      };
    };
}
