# What every host needs so that flurry can reach it: sshd, a user who may become root.
{
  imports = [ ./hardware-configuration.nix ];
  boot.loader.systemd-boot.enable = true;
  services.openssh.enable = true;
  users.users.deploy = {
    isNormalUser = true;
    extraGroups = [ "wheel" ];
    openssh.authorizedKeys.keys = [ "ssh-ed25519 AAAA… you@laptop" ];
  };
  security.sudo.wheelNeedsPassword = false;
  system.stateVersion = "25.11";
}
