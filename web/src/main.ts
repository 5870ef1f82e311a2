import { mount } from 'svelte'
import './app.css'
import App from './App.svelte'
import { listen } from './lib/route.svelte'
import { who } from './lib/session.svelte'

listen()
void who.look()
const target = document.getElementById('app')
if (target) mount(App, { target })
