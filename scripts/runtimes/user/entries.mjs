// A user's program: imports every entry of the package, whose names are its arguments, and prints what each exports.
for (const name of process.argv.slice(2))
  console.log(
    name,
    Object.keys(await import(name))
      .sort()
      .join(" "),
  );
