# What a fleet's flake may use of flurry's, without any input: its own shape, checked while Nix evaluates.
#
#   flurry = inputs.flurry.lib.check { hosts.web-01 = { targetHost = "203.0.113.10"; }; };
#   flurry = inputs.flurry.lib.fromModules nixpkgs.lib [ ./fleet.nix ];
#
# Both read eval/flurry.schema.json, which a test holds against what flurry itself accepts. Paths of profiles
# are never looked at: no system is evaluated for a check.
let
  inherit (builtins) all any attrNames concatLists concatStringsSep elem elemAt filter foldl' genList hasAttr head
    isAttrs isInt isString length listToAttrs map mapAttrs match replaceStrings sort stringLength substring typeOf;

  schema = builtins.fromJSON (builtins.readFile ./flurry.schema.json);

  resolve = s:
    if s ? "$ref"
    then resolve schema."$defs".${elemAt (match "#/[$]defs/(.*)" s."$ref") 0} // removeAttrs s [ "$ref" ]
    else s;

  # --- checking -------------------------------------------------------------------------------------------------

  names = {
    set = "an attribute set"; list = "a list"; string = "a string"; int = "an integer"; bool = "a bool";
    null = "null (leave it out for the default)"; float = "a float"; lambda = "a function"; path = "a path";
  };
  nixType = { object = "set"; array = "list"; string = "string"; integer = "int"; boolean = "bool"; };

  at = place: name: if match "[A-Za-z0-9_-]+" name == null then "${place}.\"${name}\"" else "${place}.${name}";

  min = a: b: if a < b then a else b;
  max = a: b: if a > b then a else b;
  last = list: elemAt list (length list - 1);
  chars = text: genList (i: substring i 1 text) (stringLength text);
  # Letters to insert, delete or change.
  distance = a: b:
    let
      others = chars b;
      row = above: letter: foldl'
        (left: i: left ++ [
          (min (min (elemAt above (i + 1) + 1) (last left + 1)) (elemAt above i + (if elemAt others i == letter then 0 else 1)))
        ]) [ (head above + 1) ] (genList (i: i) (length others));
    in last (foldl' row (genList (i: i) (length others + 1)) (chars a));
  hint = name: known:
    let
      ranked = sort (a: b: a.far < b.far) (map (word: { inherit word; far = distance name word; }) known);
      allowed = max 2 (stringLength name / 3);
    in
    if stringLength name <= 64 && ranked != [ ] && (head ranked).far <= allowed
    then " (did you mean '${(head ranked).word}'?)"
    else " (known here: ${concatStringsSep " " known})";

  millis = duration:
    let
      parts = match "0*([0-9]{1,9})(ms|s|m|h)" duration;
      unit = { ms = 1; s = 1000; m = 60000; h = 3600000; };
    in if isInt duration then duration * 1000 else builtins.fromJSON (elemAt parts 0) * unit.${elemAt parts 1};

  isKnown = s: name: hasAttr name (s.properties or { }) || isAttrs (s.additionalProperties or false);
  schemaOf = s: name: resolve (s.properties.${name} or s.additionalProperties);
  # null, as modules write what nobody has set. What may be a whole system (no type) isn't looked at.
  isUnset = schemaHere: value: name:
    (schemaHere ? type || schemaHere ? enum || schemaHere ? anyOf) && value.${name} == null;

  # Every way in which `value` is not what the schema says, as "place: what".
  errors = place: schemaHere: value:
    let
      s = resolve schemaHere;
      wrong = what: [ "${place}: ${what}" ];
      unless = good: what: if good then [ ] else wrong what;
      fits = alternative: typeOf value == nixType.${(resolve alternative).type};
      attributes = concatLists (map
        (name:
          let here = at place name; in
          if isKnown s name && isUnset (schemaOf s name) value name then [ ]
          else if hasAttr name (s.properties or { }) then errors here s.properties.${name} value.${name}
          else if isAttrs (s.additionalProperties or false) then errors here s.additionalProperties value.${name}
          else [ "${here}: unknown field${hint name (attrNames s.properties)}" ])
        (attrNames value));
      entries = concatLists (genList (i: errors "${place}[${toString i}]" s.items (elemAt value i)) (length value));
      count = if isAttrs value then length (attrNames value) else length value;
      byType = {
        set = map (name: "${at place name}: is missing") (filter (name: ! hasAttr name value || isUnset (schemaOf s name) value name) (s.required or [ ]))
          ++ unless (count >= s.minProperties or 0) "is empty: it needs at least ${toString (s.minProperties or 0)}"
          ++ unless (count <= s.maxProperties or count) "has more than ${toString (s.maxProperties or 0)} entries"
          ++ (if s ? properties || s ? additionalProperties then attributes else [ ]);
        list = unless (count >= s.minItems or 0) "must have at least ${toString (s.minItems or 0)} entries"
          ++ unless (count <= s.maxItems or count) "has more than ${toString (s.maxItems or 0)} entries"
          ++ (if s ? items then entries else [ ]);
        string = unless (stringLength value >= s.minLength or 0) "must not be empty"
          ++ unless (stringLength value <= s.maxLength or 4096) "is longer than 4096 bytes"
          ++ unless (! s ? pattern || match s.pattern value != null) "'${value}' does not look like ${s.pattern}";
        int = unless (value >= s.minimum or value && value <= s.maximum or value)
          "must be ${toString (s.minimum or "")} to ${toString (s.maximum or "")}, is ${toString value}";
        bool = [ ];
      };
      chosen = filter fits s.anyOf;
      expected = concatStringsSep " or " (map (a: names.${nixType.${(resolve a).type}}) s.anyOf);
      inAlternative =
        if chosen == [ ] then wrong "must be ${expected}, is ${names.${typeOf value}}"
        else if any (a: errors place a value == [ ]) chosen then [ ] else errors place (head chosen) value;
      inBounds = unless (millis value >= millis s.x-minimum && millis value <= millis s.x-maximum)
        "must be ${s.x-minimum} to ${s.x-maximum}, is ${toString value}";
    in
    if s ? enum then unless (elem value s.enum) "is none of ${concatStringsSep ", " s.enum}"
    else if s ? anyOf then inAlternative ++ (if inAlternative == [ ] && s ? x-minimum then inBounds else [ ])
    else if ! s ? type then [ ]
    else if typeOf value != nixType.${s.type} then wrong "must be ${names.${nixType.${s.type}}}, is ${names.${typeOf value}}"
    else byType.${nixType.${s.type}};

  check = fleet:
    let wrong = errors "flurry" schema fleet; in
    if wrong == [ ] then fleet else throw (concatStringsSep "\n" wrong);

  # --- as NixOS options -----------------------------------------------------------------------------------------

  options = lib:
    let
      inherit (lib) mkOption types;
      typeOfSchema = schemaHere:
        let s = resolve schemaHere; in
        if s ? enum then types.enum s.enum
        else if s ? anyOf then types.oneOf (map typeOfSchema s.anyOf)
        else if ! s ? type then types.raw
        else {
          boolean = types.bool;
          integer = types.ints.between s.minimum (s.maximum or 2147483647);
          string = if s ? pattern then types.strMatching s.pattern else types.str;
          array = types.listOf (typeOfSchema (s.items or { }));
          object =
            if s ? properties then types.submodule { options = mapAttrs (_: option) s.properties; }
            else types.attrsOf (typeOfSchema s.additionalProperties);
        }.${s.type};
      option = schemaHere:
        let s = resolve schemaHere; in
        mkOption ({
          type = types.nullOr (typeOfSchema s);
          default = null; # what isn't set is flurry's to choose
          description = (s.description or "") + (if s ? default then " Default: `${builtins.toJSON s.default}`." else "");
        } // (if s ? examples then { example = head s.examples; } else { }));
    in mapAttrs (_: option) schema.properties;

  # Options that nobody set are null.
  withoutNulls = value:
    if ! isAttrs value || value ? outPath || (value.type or null) == "derivation" then value
    else listToAttrs (map (name: { inherit name; value = withoutNulls value.${name}; })
      (filter (name: value.${name} != null) (attrNames value)));

  fromModules = lib: modules:
    check (withoutNulls (lib.evalModules { modules = [ { options = options lib; } ] ++ modules; }).config);

in { inherit schema check options fromModules; }
