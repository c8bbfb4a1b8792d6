# For flakes that want their `flurry` output checked while they are written, as options of NixOS are:
#   outputs = { self, flurry, … }: { flurry = flurry.lib.mkFleet { hosts.web = { … }; }; };
# mkFleet gives back what it was given, or throws with the place of what is wrong. It forces no profile's path.
# What it knows is fleet.schema.json, and so is what `flurry` itself reads: tests compare the two.
let
  schema = builtins.fromJSON (builtins.readFile ./fleet.schema.json);

  inherit (builtins) all attrNames concatStringsSep elem elemAt isAttrs isList length map typeOf;
  names = { set = "an attribute set"; list = "a list"; int = "an integer"; float = "a number"; bool = "a bool"; string = "a string"; null = "null"; lambda = "a function"; path = "a path"; };
  is = {
    object = isAttrs;
    array = isList;
    string = v: typeOf v == "string" || typeOf v == "path";
    integer = v: typeOf v == "int";
    number = v: elem (typeOf v) [ "int" "float" ];
    boolean = v: typeOf v == "bool";
  };
  wanted = { object = names.set; array = names.list; string = names.string; integer = names.int; number = names.float; boolean = names.bool; };
  wrong = place: what: throw "${place}: ${what}";

  # The types that a rule allows; none where it says nothing: then the value isn't looked at.
  typesOf = rule: if !(rule ? type) then [ ] else if isList rule.type then rule.type else [ rule.type ];
  resolve = rule: if rule ? "$ref" then schema.definitions.host else rule;

  check = place: given: value:
    let
      rule = resolve given;
      types = typesOf rule;
      fields = rule.properties or { };
      known = name:
        if fields ? ${name} then check "${place}.${name}" fields.${name} value.${name}
        else if isAttrs (rule.additionalProperties or true) then check "${place}.${name}" rule.additionalProperties value.${name}
        else if rule.additionalProperties or true then true
        else wrong "${place}.${name}" "unknown field (known here: ${concatStringsSep " " (attrNames fields)})";
      items = builtins.genList (i: check "${place}[${toString i}]" (rule.items or { }) (elemAt value i)) (length value);
    in
    if types == [ ] then true
    else if !(builtins.any (t: is.${t} value) types) then
      wrong place "must be ${concatStringsSep " or " (map (t: wanted.${t}) types)}, is ${names.${typeOf value} or (typeOf value)}"
    else if rule ? enum && !(elem value rule.enum) then
      wrong place "'${value}' is none of ${concatStringsSep ", " rule.enum}"
    else if rule ? minimum && (value < rule.minimum || value > rule.maximum) then
      wrong place "must be ${toString rule.minimum} to ${toString rule.maximum}, is ${toString value}"
    else if isList value then all (ok: ok) items
    else if isAttrs value then
      all known (attrNames value)
      && all (name: value ? ${name} || wrong "${place}.${name}" "is missing") (rule.required or [ ])
    else true;
in
{
  inherit schema;
  mkFleet = fleet: if check "flurry" schema fleet then fleet else fleet;
}
