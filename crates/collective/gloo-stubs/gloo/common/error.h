#pragma once
// Nothing of it is named by the headers that we include.
