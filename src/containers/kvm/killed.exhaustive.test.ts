import { testKills } from "./killed.model.ts";

testKills(520);
