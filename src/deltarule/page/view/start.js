// @ts-check
// The page of a running program.

import { mount } from "./explore.js";
import { serverDoor } from "./server_door.js";

mount(/** @type {HTMLElement} */ (document.querySelector("main")), serverDoor());
